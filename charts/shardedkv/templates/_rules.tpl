{{/* The rights of the operator in each namespace that it works in. */}}
{{- define "shardedkv.rules" -}}
- apiGroups: [shardedkv.io]
  resources: [shardedkvs]
  verbs: [get, list, watch]
- apiGroups: [shardedkv.io]
  resources: [shardedkvs/status]
  verbs: [update]
# Asked of those who make objects with an owner whose deletion waits for them, as on OpenShift. There, who
# makes an object that exists a part of another must be allowed to delete it, too.
- apiGroups: [shardedkv.io]
  resources: [shardedkvs/finalizers]
  verbs: [update]
# Made for shard managers, which get the right to update their own: nobody can give what he hasn't.
- apiGroups: [shardedkv.io]
  resources: [shardmaps]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# Those of groups that are no more are deleted; those by node ports can be switched off.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Looked at right before each step of a rolling update; deleted only when they aren't ready.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# Pods that are ready go only when the disruption budget allows it.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
# Asked to grow with the resource's storage, kept when their group goes, and watched: a lost
# volume is a lost replica. That of a replica that is gone for good is deleted.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list, watch, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
# A StatefulSet's templates of claims can't be changed: it is deleted, without its pods, and
# made again. That of a group that is no more is deleted when its pods have stopped.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
# These two can be switched off; a budget goes with its group.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Those of StatefulSets say why pods can't be made.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* Rights to objects that belong to no namespace. */}}
{{- define "shardedkv.clusterRules" -}}
# Read to see if the node of a pod is still there, and if it is about to be emptied.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
# Read to see if the volume of a replica is still there, and on which nodes; it is kept when the
# replica is replaced, unless spec.replacement.volumes is Delete.
- apiGroups: [""]
  resources: [persistentvolumes]
  verbs: [get, patch]
{{- end -}}
