// Package policies turns NetworkPolicies into rules of iptables or ip6tables. Pure: it computes from its arguments.
// It knows what comes in, which is what the policies of the operator are about.
package policies

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Chain holds all rules. Each packet that a node passes on to a pod goes through it.
const Chain = "POLICIES"

// Family is one of the two kinds of addresses, each of which has rules of its own.
type Family struct {
	// Restore is the program that replaces the chain.
	Restore string
	// bits is the length of an address.
	bits int
	// always has a match for each kind of packets that no policy is about.
	always []string
}

// established matches the packets of connections that were let in.
const established = "-m conntrack --ctstate RELATED,ESTABLISHED"

// Families has both by their names in Kubernetes. Pods on a bridge find each other by packets of IPv6 that belong to
// no connection; IPv4 has another protocol for that, which iptables doesn't see.
var Families = map[string]Family{
	"IPv4": {Restore: "iptables-restore", bits: 32, always: []string{established}},
	"IPv6": {Restore: "ip6tables-restore", bits: 128, always: []string{
		established,
		"-p ipv6-icmp -m icmp6 --icmpv6-type neighbour-solicitation",
		"-p ipv6-icmp -m icmp6 --icmpv6-type neighbour-advertisement",
	}},
}

// State is what the rules follow from.
type State struct {
	Family     Family
	Policies   []*networking.NetworkPolicy
	Pods       []*core.Pod
	Namespaces []*core.Namespace
}

// Rules returns the input of the family's Restore for one node: with --noflush it replaces the whole chain at once.
// The node itself isn't held up, since what it sends to its pods isn't passed on: kubelets probe.
func (s State) Rules(node string) (string, error) {
	lines := []string{"*mangle", fmt.Sprintf(":%s - [0:0]", Chain)}
	for _, match := range s.Family.always {
		lines = append(lines, fmt.Sprintf("-A %s %s -j RETURN", Chain, match))
	}
	for _, pod := range s.Pods {
		address, ok := s.Family.addressOf(pod)
		if !ok || pod.Spec.NodeName != node {
			continue
		}
		allowed, isolated, err := s.allowed(pod)
		if err != nil {
			return "", err
		}
		if !isolated {
			continue
		}
		to := fmt.Sprintf("-A %s -d %s ", Chain, address)
		lines = append(lines, fmt.Sprintf("%s-s %s -j RETURN", to, address))
		for _, match := range allowed {
			lines = append(lines, to+match+"-j RETURN")
		}
		lines = append(lines, to+"-j DROP")
	}
	return strings.Join(append(lines, "COMMIT"), "\n") + "\n", nil
}

// allowed returns the matches of all packets that a pod may get, and false if it may get every packet.
func (s State) allowed(pod *core.Pod) ([]string, bool, error) {
	var matches []string
	isolated := false
	for _, policy := range s.Policies {
		ingress := slices.Contains(policy.Spec.PolicyTypes, networking.PolicyTypeIngress)
		chosen, err := selects(&policy.Spec.PodSelector, pod.Labels)
		if err != nil {
			return nil, false, fmt.Errorf("policy %s/%s: %w", policy.Namespace, policy.Name, err)
		}
		if !ingress || !chosen || policy.Namespace != pod.Namespace {
			continue
		}
		isolated = true
		for _, rule := range policy.Spec.Ingress {
			sources, err := s.sources(policy.Namespace, rule.From)
			if err != nil {
				return nil, false, fmt.Errorf("policy %s/%s: %w", policy.Namespace, policy.Name, err)
			}
			for _, source := range sources {
				for _, port := range ports(pod, rule.Ports) {
					matches = append(matches, source+port)
				}
			}
		}
	}
	return matches, isolated, nil
}

// sources returns a match for each source of a rule; without peers one that every packet has.
func (s State) sources(namespace string, peers []networking.NetworkPolicyPeer) ([]string, error) {
	if len(peers) == 0 {
		return []string{""}, nil
	}
	var matches []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			blocks, err := s.Family.addresses(peer.IPBlock)
			if err != nil {
				return nil, err
			}
			for _, block := range blocks {
				matches = append(matches, fmt.Sprintf("-s %s ", block))
			}
			continue
		}
		for _, pod := range s.Pods {
			chosen, err := s.isPeer(namespace, &peer, pod)
			if err != nil {
				return nil, err
			}
			if address, ok := s.Family.addressOf(pod); ok && chosen {
				matches = append(matches, fmt.Sprintf("-s %s ", address))
			}
		}
	}
	return matches, nil
}

func (s State) isPeer(namespace string, peer *networking.NetworkPolicyPeer, pod *core.Pod) (bool, error) {
	if peer.PodSelector != nil {
		if chosen, err := selects(peer.PodSelector, pod.Labels); !chosen {
			return false, err
		}
	}
	if peer.NamespaceSelector == nil {
		return pod.Namespace == namespace, nil
	}
	for _, candidate := range s.Namespaces {
		if candidate.Name == pod.Namespace {
			return selects(peer.NamespaceSelector, candidate.Labels)
		}
	}
	return false, nil
}

// ports returns a match for each port of a rule that a pod has; for a rule without ports one that every packet has.
func ports(pod *core.Pod, wanted []networking.NetworkPolicyPort) []string {
	if len(wanted) == 0 {
		return []string{""}
	}
	var matches []string
	for _, port := range wanted {
		protocol := core.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		match := fmt.Sprintf("-p %s ", strings.ToLower(string(protocol)))
		switch {
		case port.Port == nil:
			matches = append(matches, match)
		case port.Port.Type == intstr.String:
			for _, number := range numbers(pod, port.Port.StrVal, protocol) {
				matches = append(matches, fmt.Sprintf("%s--dport %d ", match, number))
			}
		case port.EndPort != nil:
			matches = append(matches, fmt.Sprintf("%s--dport %d:%d ", match, port.Port.IntVal, *port.EndPort))
		default:
			matches = append(matches, fmt.Sprintf("%s--dport %d ", match, port.Port.IntVal))
		}
	}
	return matches
}

// numbers returns the ports that containers of a pod have by this name.
func numbers(pod *core.Pod, name string, protocol core.Protocol) []int32 {
	var found []int32
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, port := range container.Ports {
			if port.Name == name && port.Protocol == protocol {
				found = append(found, port.ContainerPort)
			}
		}
	}
	return found
}

// addressOf returns the block of the address of a pod that has one for itself.
func (f Family) addressOf(pod *core.Pod) (netip.Prefix, bool) {
	ended := pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed
	if ended || pod.Spec.HostNetwork {
		return netip.Prefix{}, false
	}
	for _, ip := range pod.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil && address.BitLen() == f.bits {
			return netip.PrefixFrom(address, f.bits), true
		}
	}
	return netip.Prefix{}, false
}

func selects(selector *meta.LabelSelector, of map[string]string) (bool, error) {
	parsed, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return parsed.Matches(labels.Set(of)), nil
}

// addresses returns a block without its exceptions; nothing if it is of the other family.
func (f Family) addresses(block *networking.IPBlock) ([]netip.Prefix, error) {
	whole, err := netip.ParsePrefix(block.CIDR)
	if err != nil || whole.Addr().BitLen() != f.bits {
		return nil, err
	}
	left := []netip.Prefix{whole.Masked()}
	for _, text := range block.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		var rest []netip.Prefix
		for _, prefix := range left {
			rest = append(rest, without(prefix, except.Masked())...)
		}
		left = rest
	}
	return left, nil
}

// without halves a block until the exception is a part of its own.
func without(prefix, except netip.Prefix) []netip.Prefix {
	if !prefix.Overlaps(except) {
		return []netip.Prefix{prefix}
	}
	if except.Bits() <= prefix.Bits() {
		return nil
	}
	bits := prefix.Bits() + 1
	bytes := prefix.Addr().AsSlice()
	bytes[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	// It has as many bytes as the other half.
	upper, _ := netip.AddrFromSlice(bytes)
	return append(without(netip.PrefixFrom(prefix.Addr(), bits), except),
		without(netip.PrefixFrom(upper, bits), except)...)
}
