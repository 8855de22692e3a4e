// Package policies turns NetworkPolicies into rules of iptables. Pure: it computes from its arguments.
// It knows what comes in by IPv4, which is what the policies of the operator are about.
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

// State is what the rules follow from.
type State struct {
	Policies   []*networking.NetworkPolicy
	Pods       []*core.Pod
	Namespaces []*core.Namespace
}

// Rules returns the input of `iptables-restore --noflush` for one node: it replaces the whole chain at once.
// The node itself isn't held up, since what it sends to its pods isn't passed on: kubelets probe.
func (s State) Rules(node string) (string, error) {
	var lines []string
	for _, pod := range s.Pods {
		address, ok := addressOf(pod)
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
		to := fmt.Sprintf("-A %s -d %s/32 ", Chain, address)
		lines = append(lines, fmt.Sprintf("%s-s %s/32 -j RETURN", to, address))
		for _, match := range allowed {
			lines = append(lines, to+match+"-j RETURN")
		}
		lines = append(lines, to+"-j DROP")
	}
	head := fmt.Sprintf("*mangle\n:%s - [0:0]\n-A %s -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN\n", Chain, Chain)
	return head + strings.Join(append(lines, "COMMIT"), "\n") + "\n", nil
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
			blocks, err := addresses(peer.IPBlock)
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
			if address, ok := addressOf(pod); ok && chosen {
				matches = append(matches, fmt.Sprintf("-s %s/32 ", address))
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

// addressOf returns the address of a pod that has one for itself.
func addressOf(pod *core.Pod) (netip.Addr, bool) {
	ended := pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed
	if ended || pod.Spec.HostNetwork {
		return netip.Addr{}, false
	}
	for _, ip := range pod.Status.PodIPs {
		if address, err := netip.ParseAddr(ip.IP); err == nil && address.Is4() {
			return address, true
		}
	}
	return netip.Addr{}, false
}

func selects(selector *meta.LabelSelector, of map[string]string) (bool, error) {
	parsed, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return parsed.Matches(labels.Set(of)), nil
}

// addresses returns a block without its exceptions.
func addresses(block *networking.IPBlock) ([]netip.Prefix, error) {
	whole, err := netip.ParsePrefix(block.CIDR)
	if err != nil || !whole.Addr().Is4() {
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
	upper := prefix.Addr().As4()
	upper[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	return append(without(netip.PrefixFrom(prefix.Addr(), bits), except),
		without(netip.PrefixFrom(netip.AddrFrom4(upper), bits), except)...)
}
