{{/* The name of all objects: the release's, with skv-operator in it. */}}
{{- define "shardedkv.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "skv-operator" $name) -}}
{{- $name = printf "%s-skv-operator" $name -}}
{{- end -}}
{{- .Values.fullnameOverride | default $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of objects that belong to no namespace: two releases may have one name in two. */}}
{{- define "shardedkv.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "shardedkv.fullname" .) -}}
{{- end -}}

{{- define "shardedkv.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "shardedkv.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* By these the Deployment, the Service and the budget know the pods. The name is fixed:
     network policies of databases let the operator in by it. */}}
{{- define "shardedkv.selector" -}}
app.kubernetes.io/name: skv-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shardedkv.labels" -}}
{{ include "shardedkv.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "shardedkv.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The settings of a container that the restricted Pod Security level requires. */}}
{{- define "shardedkv.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The settings of a pod that it requires. */}}
{{- define "shardedkv.restrictedPod" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* A pod of a helm test: its metadata and how it runs. */}}
{{- define "shardedkv.testMetadata" -}}
labels:
  app.kubernetes.io/name: skv-operator-test
  app.kubernetes.io/instance: {{ .Release.Name }}
annotations:
  helm.sh/hook: test
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "shardedkv.testPod" -}}
# Asked again until it succeeds: what was just installed may not be ready yet.
restartPolicy: OnFailure
activeDeadlineSeconds: 180
automountServiceAccountToken: false
securityContext:
  {{- include "shardedkv.restrictedPod" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A container of a helm test that runs skv. */}}
{{- define "shardedkv.testContainer" -}}
image: {{ include "shardedkv.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "shardedkv.restricted" . | nindent 2 }}
resources:
  requests: {cpu: 10m, memory: 32Mi}
  limits: {memory: 128Mi}
{{- end -}}
