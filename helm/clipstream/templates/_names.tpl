{{/* Names, labels and selectors of every object. */}}

{{- define "clipstream.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release's objects. At most 40 characters, because controllers add to it. */}}
{{- define "clipstream.fullname" -}}
{{- $name := include "clipstream.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "clipstream.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "clipstream.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/*
Labels that select pods. They never change. Takes root, and by choice component and kind (of worker pods,
as `clipstream.groups` names it).
*/}}
{{- define "clipstream.selector" -}}
app.kubernetes.io/name: {{ include "clipstream.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- with .kind }}
clipstream/group: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Labels of pods. Takes what the selector takes. */}}
{{- define "clipstream.podLabels" -}}
{{ include "clipstream.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ include "clipstream.version" .root | quote }}
{{- end }}

{{/* The `metadata` of an object. Takes root, name, and by choice component, kind, labels, annotations. */}}
{{- define "clipstream.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- $own := fromYaml (include "clipstream.podLabels" .) }}
  {{- $chart := dict "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
  {{- toYaml (merge $own $chart (.labels | default dict) .root.Values.commonLabels) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The release of Clipstream in the image, as a label. */}}
{{- define "clipstream.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "clipstream.image" -}}
{{- $image := .Values.image -}}
{{- with .Values.global.imageRegistry | default $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}
