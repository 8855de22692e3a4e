//! The network of a cluster: a bridge in the control plane's namespace that joins the
//! nodes, a route to the pods of each node, and a link to the machine.

use std::path::Path;
use std::process::Command;

use super::Family;
use super::plan::{Node, Plan};
use crate::command::run;

pub(super) fn make(plan: &Plan) -> anyhow::Result<()> {
    let control_plane = plan.control_plane();
    let address = plan.control_plane_address();
    let (bits, flags) = (plan.network_bits(), address_flags(plan));
    control_plane.add()?;
    control_plane.run("ip link add lan0 type bridge")?;
    control_plane.run(&format!("ip address add {address}/{bits} dev lan0{flags}"))?;
    control_plane.run("ip link set lan0 up")?;
    // The addresses are replaced on the way out, but only if there is a route.
    control_plane.run(&format!("ip route add {} dev lan0", plan.services()))?;
    control_plane.run(forwarding(plan))?;
    link_to_machine(plan)?;
    for node in plan.nodes() {
        join(plan, &node)?;
    }
    Ok(())
}

/// Makes the network of a control plane without nodes. Nothing listens at the addresses of pods, but they are its own:
/// who connects to one is refused at once, and doesn't wait for an answer.
pub(super) fn make_alone(plan: &Plan, pods: &str) -> anyhow::Result<()> {
    let control_plane = plan.control_plane();
    control_plane.add()?;
    control_plane.run(&format!("ip address add {} dev lo", plan.control_plane_address()))?;
    control_plane.run(&format!("ip route add local {pods} dev lo"))?;
    link_to_machine(plan)
}

/// The machine reaches the control plane and nothing else: it has no route to the rest, and nodes
/// and pods have none out.
fn link_to_machine(plan: &Plan) -> anyhow::Result<()> {
    let [machine, inside] = plan.link_addresses();
    let (name, control_plane) = (plan.name(), plan.control_plane());
    // The link is two addresses and those below and above them: the last two bits.
    let flags = address_flags(plan);
    let bits = match plan.family() {
        Family::Ipv4 => 30,
        Family::Ipv6 => 126,
    };
    let ip = |line: &str| run(Command::new("ip").args(line.split(' ')));
    ip(&format!("link add {name} type veth peer name machine0 netns {}", control_plane.name()))?;
    ip(&format!("address add {machine}/{bits} dev {name}{flags}"))?;
    ip(&format!("link set {name} up"))?;
    control_plane.run(&format!("ip address add {inside}/{bits} dev machine0{flags}"))?;
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
    let (bits, flags) = (plan.network_bits(), address_flags(plan));
    namespace.add()?;
    control_plane.run(&format!("ip link add {port} type veth peer name lan0 netns {}", namespace.name()))?;
    control_plane.run(&format!("ip link set {port} master lan0 up"))?;
    control_plane.run(&format!("ip route add {} via {address}", node.pods))?;
    namespace.run(&format!("ip address add {address}/{bits} dev lan0{flags}"))?;
    namespace.run("ip link set lan0 up")?;
    namespace.run(&format!("ip route add default via {}", plan.control_plane_address()))?;
    for other in plan.nodes().filter(|other| other.name != node.name) {
        namespace.run(&format!("ip route add {} via {}", other.pods, other.address))?;
    }
    namespace.run(forwarding(plan))
}

/// Returns the last words of `ip address add`. An address of IPv6 can't be listened at until the network was
/// asked if another has it: nobody does here, and asking takes seconds.
fn address_flags(plan: &Plan) -> &'static str {
    match plan.family() {
        Family::Ipv4 => "",
        Family::Ipv6 => " nodad",
    }
}

/// Returns the command with which a namespace passes on the packets of others.
fn forwarding(plan: &Plan) -> &'static str {
    match plan.family() {
        Family::Ipv4 => "sysctl -qw net.ipv4.ip_forward=1",
        Family::Ipv6 => "sysctl -qw net.ipv6.conf.all.forwarding=1",
    }
}
