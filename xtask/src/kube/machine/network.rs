//! The network of a cluster: a bridge in the control plane's namespace that joins the
//! nodes, a route to the pods of each node, and a link to the machine.

use std::path::Path;
use std::process::Command;

use super::plan::{Node, Plan};
use crate::command::run;

pub(super) fn make(plan: &Plan) -> anyhow::Result<()> {
    let control_plane = plan.control_plane();
    let address = plan.control_plane_address();
    control_plane.add()?;
    control_plane.run("ip link add lan0 type bridge")?;
    control_plane.run(&format!("ip address add {address}/24 dev lan0"))?;
    control_plane.run("ip link set lan0 up")?;
    // The addresses are replaced on the way out, but only if there is a route.
    control_plane.run(&format!("ip route add {} dev lan0", plan.services()))?;
    control_plane.run("sysctl -qw net.ipv4.ip_forward=1")?;
    link_to_machine(plan)?;
    for node in plan.nodes() {
        join(plan, &node)?;
    }
    Ok(())
}

/// The machine reaches the control plane and nothing else: it has no route to the rest, and nodes
/// and pods have none out.
fn link_to_machine(plan: &Plan) -> anyhow::Result<()> {
    let [machine, inside] = plan.link_addresses();
    let (name, control_plane) = (plan.name(), plan.control_plane());
    let ip = |line: &str| run(Command::new("ip").args(line.split(' ')));
    ip(&format!("link add {name} type veth peer name machine0 netns {}", control_plane.name()))?;
    ip(&format!("address add {machine}/30 dev {name}"))?;
    ip(&format!("link set {name} up"))?;
    control_plane.run(&format!("ip address add {inside}/30 dev machine0"))?;
    control_plane.run("ip link set machine0 up")
}

/// Removes the link, if it is there.
pub(super) fn remove_link(plan: &Plan) -> anyhow::Result<()> {
    if Path::new("/sys/class/net").join(plan.name()).exists() {
        run(Command::new("ip").args(["link", "delete", plan.name()]))?;
    }
    Ok(())
}

fn join(plan: &Plan, node: &Node) -> anyhow::Result<()> {
    let control_plane = plan.control_plane();
    let (namespace, address, port) = (&node.namespace, node.address, &node.port);
    namespace.add()?;
    control_plane.run(&format!("ip link add {port} type veth peer name lan0 netns {}", namespace.name()))?;
    control_plane.run(&format!("ip link set {port} master lan0 up"))?;
    control_plane.run(&format!("ip route add {} via {address}", node.pods))?;
    namespace.run(&format!("ip address add {address}/24 dev lan0"))?;
    namespace.run("ip link set lan0 up")?;
    namespace.run(&format!("ip route add default via {}", plan.control_plane_address()))?;
    for other in plan.nodes().filter(|other| other.name != node.name) {
        namespace.run(&format!("ip route add {} via {}", other.pods, other.address))?;
    }
    namespace.run("sysctl -qw net.ipv4.ip_forward=1")
}
