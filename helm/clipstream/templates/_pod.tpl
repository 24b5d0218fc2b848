{{/*
The pod template of every pod in both modes: `metadata` and `spec`.

Takes root, component, role (the section of the values that says where the pod runs), grace (seconds),
settings (name of the ConfigMap), containers (text), and by choice kind, volumes (text), annotations and spec
(maps), labelSets (text of a volume source), claimsCache (whether a claim of the pod's own is /cache).
*/}}
{{- define "clipstream.pod" -}}
{{- $values := .root.Values -}}
{{- $role := .role -}}
metadata:
  labels:
    {{- $own := fromYaml (include "clipstream.podLabels" .) }}
    {{- toYaml (merge $own ($role.podLabels | default dict) $values.podLabels $values.commonLabels) | nindent 4 }}
  {{- with merge (.annotations | default dict) ($role.podAnnotations | default dict) $values.podAnnotations $values.commonAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "clipstream.serviceAccountName" .root }}
  automountServiceAccountToken: false
  # Kubernetes would set CLIPSTREAM_…_SERVICE_HOST, which Clipstream refuses as an unknown setting.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with concat $values.global.imagePullSecrets $values.image.pullSecrets | uniq }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $role.priorityClassName | default $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $role.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with merge (dict) ($role.nodeSelector | default dict) $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with concat ($role.tolerations | default list) $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.affinity | default $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .spec }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- if eq $values.model.source "s3" }}
  initContainers:
    {{- include "clipstream.modelCopy" . | nindent 4 }}
  {{- end }}
  containers:
    {{- .containers | nindent 4 }}
  volumes:
    {{- include "clipstream.volumes" . | nindent 4 }}
{{- end }}

{{/* What all containers have in common. Takes root, and by choice copies (whether it writes weights). */}}
{{- define "clipstream.container" -}}
image: {{ include "clipstream.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.containerSecurityContext | nindent 2 }}
{{- with .root.Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  {{- include "clipstream.volumeMounts" . | nindent 2 }}
{{- end }}

{{/* Resources of a container, with its GPUs. Takes a section of the values with resources and, by choice, gpu. */}}
{{- define "clipstream.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- with .gpu }}{{ if .count -}}
{{- $gpus := dict .resource (.count | int) -}}
{{- $_ := set $resources "limits" (merge ($resources.limits | default dict) $gpus) -}}
{{- $_ := set $resources "requests" (merge ($resources.requests | default dict) $gpus) -}}
{{- end }}{{ end -}}
resources:
  {{- toYaml $resources | nindent 2 }}
{{- end }}

{{/* The container that copies the weights from S3. */}}
{{- define "clipstream.modelCopy" -}}
- name: model
  args: [model, fetch, {{ .root.Values.model.uri | quote }}, /models/checkpoint, --config, /etc/clipstream/settings/settings.yaml
    {{- with .root.Values.model.revision }}, {{ printf "--revision=%s" . | quote }}{{ end }}]
  {{- include "clipstream.container" (dict "root" .root "copies" true) | nindent 2 }}
  env:
    {{- include "clipstream.env" (dict "root" .root) | nindent 4 }}
  {{- include "clipstream.resources" .root.Values.model | nindent 2 }}
{{- end }}
