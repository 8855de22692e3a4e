//! Pods: their users, their places, what people add to them, and how they are reached.

use serde_json::json;

use super::*;

fn pod(input: &Input, title: &str) -> Value {
    find(&build(input).unwrap(), title)["spec"]["template"]["spec"].clone()
}

#[test]
fn users_are_those_of_the_image_of_the_platform_or_of_the_specification() {
    let users = |spec, users| {
        let pod = pod(&Input { users, ..input(spec) }, "StatefulSet demo-g0");
        let context = pod["securityContext"].clone();
        assert_eq!(context["runAsNonRoot"], true);
        (context["runAsUser"].clone(), context["runAsGroup"].clone(), context["fsGroup"].clone())
    };
    let none = (Value::Null, Value::Null, Value::Null);
    let image = || json!(65532);
    assert_eq!(users("{}", Users::OfTheImage), (image(), image(), image()));
    assert_eq!(users("{}", Users::OfThePlatform), none);
    for platform in [Users::OfTheImage, Users::OfThePlatform] {
        assert_eq!(users("{podSecurityContext: {}}", platform), none);
        let chosen = "{podSecurityContext: {runAsUser: 7, fsGroup: 8, runAsNonRoot: false}}";
        assert_eq!(users(chosen, platform), (json!(7), Value::Null, json!(8)));
    }
    assert_eq!(Users::of(["apps", "security.openshift.io"].into_iter()), Users::OfThePlatform);
    assert_eq!(Users::of(["apps"].into_iter()), Users::OfTheImage);
}

#[test]
fn additions_are_merged_by_name_into_the_pods_of_both_programs() {
    let input = input(
        "{podTemplate: {spec: {
            runtimeClassName: gvisor, serviceAccountName: orders,
            volumes: [{name: certificates, secret: {secretName: tls}}],
            containers: [
                {name: kvserver, env: [{name: RUST_LOG, value: debug}], livenessProbe: {failureThreshold: 9},
                 volumeMounts: [{name: certificates, mountPath: /tls}]},
                {name: shardmanager, env: [{name: RUST_LOG, value: warn}]},
                {name: sidecar, image: i}]}}}",
    );
    let names = |list: &Value| -> Vec<String> {
        let names = list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned());
        names.collect()
    };
    let server = pod(&input, "StatefulSet demo-g0");
    assert_eq!(names(&server["containers"]), ["kvserver", "sidecar"]);
    let container = &server["containers"][0];
    assert_eq!(names(&container["env"]), ["SKV_SERVER", "SKV_INSTANCE", "RUST_LOG"]);
    assert_eq!(names(&container["volumeMounts"]), ["data", "certificates"]);
    assert_eq!(container["livenessProbe"]["failureThreshold"], 9);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["command"], json!(["kvserver"]));
    assert_eq!(
        (&server["runtimeClassName"], &server["serviceAccountName"]),
        (&"gvisor".into(), &"orders".into())
    );
    let manager = pod(&input, "Deployment demo-manager");
    assert_eq!(names(&manager["containers"]), ["shardmanager", "sidecar"]);
    assert_eq!(manager["containers"][0]["env"], json!([{ "name": "RUST_LOG", "value": "warn" }]));
    assert_eq!(manager["volumes"][0]["name"], "certificates");
    let binding = find(&build(&input).unwrap(), "RoleBinding demo-manager");
    assert_eq!(binding["subjects"][0]["name"], "orders", "the record can still be written");
}

#[test]
fn pods_spread_over_nodes_and_zones_and_an_update_of_managers_does_not_count_those_that_go() {
    let spread = |title| pod(&input("{}"), title)["topologySpreadConstraints"].clone();
    for title in ["StatefulSet demo-g0", "Deployment demo-manager"] {
        let over = |index: usize| spread(title)[index]["topologyKey"].clone();
        assert_eq!(
            (over(0), over(1)),
            ("kubernetes.io/hostname".into(), "topology.kubernetes.io/zone".into())
        );
        assert_eq!(spread(title)[1]["whenUnsatisfiable"], "ScheduleAnyway", "there may be no zones");
    }
    assert_eq!(spread("Deployment demo-manager")[0]["matchLabelKeys"], json!(["pod-template-hash"]));
    // The servers of a group stay one group, whatever revision each is of.
    assert_eq!(spread("StatefulSet demo-g0")[0]["matchLabelKeys"], Value::Null);
    let off = pod(&input("{scheduling: {topologySpreadConstraints: []}}"), "StatefulSet demo-g0");
    assert_eq!(off["topologySpreadConstraints"], json!([]));
}

#[test]
fn a_server_goes_on_until_its_services_know_that_it_goes() {
    let server = pod(&input("{}"), "StatefulSet demo-g0");
    let goes_on = server["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().unwrap();
    assert!(
        server["terminationGracePeriodSeconds"].as_i64().unwrap() >= goes_on + 60,
        "it hands over after that"
    );
}

#[test]
fn policies_name_ports_so_that_a_change_of_numbers_cuts_nobody_off() {
    let policy = |spec| find(&build(&input(spec)).unwrap(), "NetworkPolicy demo")["spec"].clone();
    let changed = "{ports: {client: 8000, peer: 8001, http: 8002, manager: 8003}}";
    assert_eq!(policy("{}"), policy(changed));
    // The names are those of the containers' ports.
    let objects = build(&input(changed)).unwrap();
    let named: Vec<Value> = ["StatefulSet demo-g0", "Deployment demo-manager"]
        .iter()
        .flat_map(|title| {
            let pod = &find(&objects, title)["spec"]["template"]["spec"];
            pod["containers"][0]["ports"].as_array().unwrap().clone()
        })
        .map(|port| port["name"].clone())
        .collect();
    for rule in policy("{}")["ingress"].as_array().unwrap() {
        for port in rule["ports"].as_array().unwrap() {
            assert!(named.contains(&port["port"]), "{port}");
        }
    }
}

#[test]
fn servers_reach_each_other_and_shard_managers_which_reach_nobody() {
    let objects = build(&input("{networkPolicy: {clients: []}}")).unwrap();
    let policy = find(&objects, "NetworkPolicy demo");
    let reached_by = |title: &str| -> Vec<Value> {
        let labels = &find(&objects, title)["spec"]["template"]["metadata"]["labels"];
        let is_let_in = |peer: &Value| {
            let wanted = peer["podSelector"]["matchLabels"].as_object().unwrap();
            let has_all = wanted.iter().all(|(label, value)| labels[label] == *value);
            peer["namespaceSelector"].is_null() && has_all
        };
        let rules = policy["spec"]["ingress"].as_array().unwrap().iter();
        let open = rules.filter(|rule| rule["from"].as_array().unwrap().iter().any(is_let_in));
        open.flat_map(|rule| rule["ports"].as_array().unwrap()).map(|port| port["port"].clone()).collect()
    };
    assert_eq!(reached_by("StatefulSet demo-g0"), ["client", "peer", "manager"]);
    assert_eq!(reached_by("Deployment demo-manager"), [""; 0]);
}

#[test]
fn shard_managers_are_for_our_servers_and_the_operator_and_for_clients_of_node_ports() {
    let reaching = |spec: &str| -> Vec<Value> {
        let policy = find(&build(&input(spec)).unwrap(), "NetworkPolicy demo");
        let rules = policy["spec"]["ingress"].as_array().unwrap().iter();
        let is_manager = |port: &Value| port["port"] == "manager";
        let leads_there = |rule: &&Value| rule["ports"].as_array().unwrap().iter().any(is_manager);
        rules.filter(leads_there).map(|rule| rule["from"].clone()).collect()
    };
    let closed = reaching("{}");
    assert_eq!(closed.len(), 2);
    assert_eq!(closed[0][0]["podSelector"]["matchLabels"]["app.kubernetes.io/instance"], "demo");
    assert_eq!(closed[1][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "skv-operator");
    let clients = "{networkPolicy: {clients: [{podSelector: {matchLabels: {may: connect}}}]}}";
    assert_eq!(reaching(clients), closed);
    let open = reaching("{nodePorts: {first: 30400}}");
    assert_eq!((open.len(), &open[2]), (3, &Value::Null), "everybody");
    assert_eq!(reaching("{nodePorts: {first: 30400}, networkPolicy: {clients: []}}"), closed);
}

#[test]
fn the_service_of_clients_is_as_the_specification_says() {
    let service = |spec| find(&build(&input(spec)).unwrap(), "Service demo");
    let plain = service("{}");
    assert_eq!(
        (&plain["spec"]["type"], &plain["metadata"]["annotations"]),
        (&"ClusterIP".into(), &Value::Null)
    );
    let chosen = service(
        "{service: {type: LoadBalancer, annotations: {internal: 'true'}, loadBalancerSourceRanges: [10.0.0.0/8],
                    trafficDistribution: PreferSameZone}}",
    );
    assert_eq!(chosen["metadata"]["annotations"], json!({ "internal": "true" }));
    assert_eq!(chosen["spec"]["type"], "LoadBalancer");
    assert_eq!(chosen["spec"]["loadBalancerSourceRanges"], json!(["10.0.0.0/8"]));
    assert_eq!(chosen["spec"]["trafficDistribution"], "PreferSameZone");
}

#[test]
fn the_service_of_clients_has_the_families_of_addresses_that_are_chosen() {
    let families = |service: &str| {
        let objects = build(&input(&format!("{{service: {service}}}"))).unwrap();
        let policy = |title| find(&objects, title)["spec"]["ipFamilyPolicy"].clone();
        assert_eq!(policy("Service demo-g0"), "PreferDualStack", "servers find each other by both");
        (policy("Service demo"), find(&objects, "Service demo")["spec"]["ipFamilies"].clone())
    };
    assert_eq!(families("{}"), (json!("PreferDualStack"), Value::Null));
    let only_ipv6 = families("{ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]}");
    assert_eq!(only_ipv6, (json!("SingleStack"), json!(["IPv6"])));
    let both = families("{ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4]}");
    assert_eq!(both, (json!("RequireDualStack"), json!(["IPv6", "IPv4"])));
}

#[test]
fn everything_listens_and_is_found_by_both_families_of_addresses() {
    let objects = build(&input("{nodePorts: {first: 30400}}")).unwrap();
    for service in objects.iter().filter(|object| object.resource.kind == "Service") {
        let policy = &service.content["spec"]["ipFamilyPolicy"];
        // Each address of this one is taken for a shard manager of its own.
        let both = service.name != "demo-manager";
        assert_eq!(*policy == "PreferDualStack", both, "{}: {policy}", service.title());
    }
    for title in ["StatefulSet demo-g0", "Deployment demo-manager"] {
        let arguments = &find(&objects, title)["spec"]["template"]["spec"]["containers"][0]["args"];
        let listen = arguments.as_array().unwrap().iter().filter_map(Value::as_str);
        let listen: Vec<&str> = listen.filter(|argument| argument.contains("listen=")).collect();
        assert!(listen.len() > 1 && listen.iter().all(|argument| argument.contains("=[::]:")), "{listen:?}");
    }
}
