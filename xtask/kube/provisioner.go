package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// newProvisionerCommand serves claims with `local` volumes: a directory per volume, bound to
// the node of its first pod, as local disks are. Unlike hostPath volumes they honour fsGroup,
// so pods that don't run as root can write to them.
func newProvisionerCommand() *cobra.Command {
	var kubeconfig, name, dir string
	command := &cobra.Command{Use: "provisioner", RunE: func(command *cobra.Command, _ []string) error {
		client, err := connect(kubeconfig)
		if err != nil {
			return err
		}
		controller.NewProvisionController(command.Context(), client, name, localVolumes{dir},
			controller.LeaderElection(false)).Run(command.Context())
		return nil
	}}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&name, "name", "", "the provisioner that storage classes name")
	command.Flags().StringVar(&dir, "dir", "", "directory that holds the volumes")
	return command
}

type localVolumes struct{ dir string }

func (l localVolumes) Provision(_ context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(l.dir, o.SelectedNodeName, o.PVName)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	onItsNode := v1.NodeSelectorTerm{MatchExpressions: []v1.NodeSelectorRequirement{{
		Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{o.SelectedNodeName},
	}}}
	return &v1.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{
				Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{onItsNode}},
			},
		},
	}, controller.ProvisioningFinished, nil
}

func (l localVolumes) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	return os.RemoveAll(volume.Spec.Local.Path)
}
