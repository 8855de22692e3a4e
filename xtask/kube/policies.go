package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"shardedkv.io/kube/policies"
)

// newPoliciesCommand enforces NetworkPolicies on one node, in whose network it runs. The chain is there already.
func newPoliciesCommand() *cobra.Command {
	var kubeconfig, node, family string
	command := &cobra.Command{Use: "policies", RunE: func(command *cobra.Command, _ []string) error {
		of, ok := policies.Families[family]
		if !ok {
			return fmt.Errorf("there is no family of addresses %q", family)
		}
		client, err := connect(kubeconfig)
		if err != nil {
			return err
		}
		return enforce(command.Context(), informers.NewSharedInformerFactory(client, 0), node, of)
	}}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&node, "node", "", "the node whose pods are protected")
	command.Flags().StringVar(&family, "family", "IPv4", "the family of their addresses: IPv4 or IPv6")
	return command
}

// enforce writes the rules again whenever they are others.
func enforce(ctx context.Context, factory informers.SharedInformerFactory, node string, family policies.Family) error {
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(_, _ any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	found := factory.Networking().V1().NetworkPolicies()
	pods, namespaces := factory.Core().V1().Pods(), factory.Core().V1().Namespaces()
	for _, informer := range []cache.SharedIndexInformer{found.Informer(), pods.Informer(), namespaces.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	var written string
	for {
		state := policies.State{Family: family}
		var err error
		if state.Policies, err = found.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if state.Pods, err = pods.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if state.Namespaces, err = namespaces.Lister().List(labels.Everything()); err != nil {
			return err
		}
		rules, err := state.Rules(node)
		if err == nil && rules != written {
			err = restore(ctx, family.Restore, rules)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the policies can't be enforced yet, and are tried again:", err)
			time.AfterFunc(time.Second, notify)
		} else {
			written = rules
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func restore(ctx context.Context, program, rules string) error {
	command := exec.CommandContext(ctx, program, "--noflush", "--wait")
	command.Stdin = strings.NewReader(rules)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, output)
	}
	return nil
}
