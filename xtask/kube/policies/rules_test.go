package policies

import (
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(namespace, name, node, ip string) *core.Pod {
	return &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: core.PodSpec{NodeName: node, Containers: []core.Container{{Ports: []core.ContainerPort{
			{Name: "client", ContainerPort: 7000, Protocol: core.ProtocolTCP},
		}}}},
		Status: core.PodStatus{PodIPs: []core.PodIP{{IP: ip}}},
	}
}

func app(name string) *meta.LabelSelector {
	return &meta.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func state(rules ...networking.NetworkPolicyIngressRule) State {
	return State{
		Family: Families["IPv4"],
		Policies: []*networking.NetworkPolicy{{
			ObjectMeta: meta.ObjectMeta{Namespace: "ours", Name: "policy"},
			Spec: networking.NetworkPolicySpec{
				PodSelector: *app("server"), PolicyTypes: []networking.PolicyType{networking.PolicyTypeIngress}, Ingress: rules,
			},
		}},
		Pods: []*core.Pod{
			pod("ours", "server", "node1", "10.0.0.1"), pod("ours", "server", "node2", "10.0.1.1"),
			pod("ours", "other", "node1", "10.0.0.2"), pod("theirs", "other", "node2", "10.0.1.2"),
		},
		Namespaces: []*core.Namespace{
			{ObjectMeta: meta.ObjectMeta{Name: "ours", Labels: map[string]string{"app": "ours"}}},
			{ObjectMeta: meta.ObjectMeta{Name: "theirs", Labels: map[string]string{"app": "theirs"}}},
		},
	}
}

// expect compares the rules about pods of node1.
func expect(t *testing.T, state State, wanted ...string) {
	t.Helper()
	rules, err := state.Rules("node1")
	if err != nil {
		t.Fatal(err)
	}
	var about []string
	for _, line := range strings.Split(rules, "\n") {
		if strings.HasPrefix(line, "-A POLICIES -d ") {
			about = append(about, line)
		}
	}
	found := strings.Join(about, "\n")
	if found != strings.Join(wanted, "\n") {
		t.Fatalf("found:\n%s\nwanted:\n%s", found, strings.Join(wanted, "\n"))
	}
}

const (
	itself = "-A POLICIES -d 10.0.0.1/32 -s 10.0.0.1/32 -j RETURN"
	drop   = "-A POLICIES -d 10.0.0.1/32 -j DROP"
)

func TestOnlyTheChosenPodsOfThisNodeAreIsolated(t *testing.T) {
	expect(t, state(), itself, drop)
}

func TestAPortIsFoundByItsName(t *testing.T) {
	named, unknown := intstr.FromString("client"), intstr.FromString("peer")
	expect(t, state(networking.NetworkPolicyIngressRule{Ports: []networking.NetworkPolicyPort{{Port: &named}, {Port: &unknown}}}),
		itself, "-A POLICIES -d 10.0.0.1/32 -p tcp --dport 7000 -j RETURN", drop)
}

func TestPeersWithoutANamespaceAreOfThePolicysOwn(t *testing.T) {
	from := []networking.NetworkPolicyPeer{{PodSelector: app("other")}}
	expect(t, state(networking.NetworkPolicyIngressRule{From: from}),
		itself, "-A POLICIES -d 10.0.0.1/32 -s 10.0.0.2/32 -j RETURN", drop)
	from[0].NamespaceSelector = app("theirs")
	expect(t, state(networking.NetworkPolicyIngressRule{From: from}),
		itself, "-A POLICIES -d 10.0.0.1/32 -s 10.0.1.2/32 -j RETURN", drop)
}

func TestARuleWhosePeersAreNoPodsAllowsNobody(t *testing.T) {
	from := []networking.NetworkPolicyPeer{{PodSelector: app("nobody")}}
	expect(t, state(networking.NetworkPolicyIngressRule{From: from}), itself, drop)
}

func TestABlockLacksItsExceptions(t *testing.T) {
	block := &networking.IPBlock{CIDR: "10.0.0.0/30", Except: []string{"10.0.0.1/32"}}
	expect(t, state(networking.NetworkPolicyIngressRule{From: []networking.NetworkPolicyPeer{{IPBlock: block}}}),
		itself, "-A POLICIES -d 10.0.0.1/32 -s 10.0.0.0/32 -j RETURN",
		"-A POLICIES -d 10.0.0.1/32 -s 10.0.0.2/31 -j RETURN", drop)
}

func TestPodsWithIPv6HaveRulesOfTheirOwn(t *testing.T) {
	block := &networking.IPBlock{CIDR: "2001:db8::/126", Except: []string{"2001:db8::1/128"}}
	other := &networking.IPBlock{CIDR: "10.0.0.0/8"}
	found := state(networking.NetworkPolicyIngressRule{From: []networking.NetworkPolicyPeer{
		{PodSelector: app("other")}, {IPBlock: block}, {IPBlock: other},
	}})
	found.Family = Families["IPv6"]
	expect(t, found)
	for _, pod := range found.Pods {
		pod.Status.PodIPs = append(pod.Status.PodIPs, core.PodIP{IP: "fd00::" + pod.Status.PodIPs[0].IP})
	}
	to := "-A POLICIES -d fd00::a00:1/128 "
	expect(t, found, to+"-s fd00::a00:1/128 -j RETURN", to+"-s fd00::a00:2/128 -j RETURN",
		to+"-s 2001:db8::/128 -j RETURN", to+"-s 2001:db8::2/127 -j RETURN", to+"-j DROP")
}

func TestNeighboursFindEachOther(t *testing.T) {
	const rule = "-A POLICIES -p ipv6-icmp -m icmp6 --icmpv6-type neighbour-advertisement -j RETURN\n"
	for name, family := range Families {
		found := state()
		found.Family = family
		rules, err := found.Rules("node1")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(rules, rule) != (name == "IPv6") {
			t.Fatalf("%s:\n%s", name, rules)
		}
	}
}
