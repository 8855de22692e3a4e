{{/* What the operator may do in each namespace that it works in. */}}
{{- define "shardedkv.rules" -}}
- apiGroups: [shardedkv.io]
  resources: [shardedkvs]
  verbs: [get, list, watch]
- apiGroups: [shardedkv.io]
  resources: [shardedkvs/status]
  verbs: [update]
# Made for shard managers, which get the right to update their own: nobody can give what he hasn't.
- apiGroups: [shardedkv.io]
  resources: [shardmaps]
  verbs: [get, list, watch, create, patch, update]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
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
# volume is a lost replica.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# What a StatefulSet says of its claims can't be changed: it is deleted, without its pods,
# and made anew. That of a group that is no more is deleted when its pods have stopped.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch]
# These two can be switched off; a budget goes with its group.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What belongs to no namespace, and can only be read. */}}
{{- define "shardedkv.clusterRules" -}}
# Whether the node of a pod that doesn't go away is still there.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end -}}
