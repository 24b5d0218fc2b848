{{/* Kinds of worker pods, and what the driver of the stream has in both modes. */}}

{{/*
The kinds: {groups: [the keys of `workers`, name, and kind]}. Without `groups` one kind without a name.
`kind` is what its pods and its group in a RayCluster are called.
*/}}
{{- define "clipstream.groups" -}}
{{- $groups := list -}}
{{- range .Values.groups | default (list (dict "name" "")) -}}
{{- $group := mustMergeOverwrite (deepCopy $.Values.workers) (deepCopy .) -}}
{{- $groups = append $groups (set $group "kind" (.name | default "workers")) -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end }}

{{/* Name of the objects of a kind. Takes root, group. */}}
{{- define "clipstream.groupName" -}}
{{- $fullname := include "clipstream.fullname" .root -}}
{{- if .group.name }}{{ printf "%s-%s" $fullname .group.name | trunc 50 | trimSuffix "-" }}{{ else }}{{ $fullname }}{{ end -}}
{{- end }}

{{/* Spreads pods over zones. Takes what their selector takes. */}}
{{- define "clipstream.spread" -}}
{{- with .root.Values.topologySpread }}{{ if .enabled -}}
topologySpreadConstraints:
  - topologyKey: {{ .topologyKey }}
    maxSkew: {{ .maxSkew }}
    whenUnsatisfiable: {{ .whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "clipstream.selector" $ | nindent 8 }}
{{- end }}{{ end -}}
{{- end }}

{{/* Probes of a driver. Takes root, and by choice ready (name of another port for readiness). */}}
{{- define "clipstream.probes" -}}
{{- with .root.Values.probes -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  {{- toYaml .startup | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: health}
  {{- toYaml .liveness | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ $.ready | default "health" }}}
  {{- toYaml .readiness | nindent 2 }}
{{- end -}}
{{- end }}

{{/* Annotations of a driver's pod: a checksum of its settings, and where its metrics are. */}}
{{- define "clipstream.driverAnnotations" -}}
checksum/settings: {{ sha256sum .text }}
{{- if .root.Values.monitoring.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ include "clipstream.healthPort" .text | quote }}
prometheus.io/path: {{ ternary (include "clipstream.metricsPath" .root) "/metrics/all" (.ofStream | default false) }}
{{- end }}
{{- end }}

{{/* Where the port of a stream's driver has series: its own where a ScrapeConfig finds the workers, otherwise theirs too. */}}
{{- define "clipstream.metricsPath" -}}
{{ ternary "/metrics" "/metrics/all" (eq (include "clipstream.discoversWorkers" .) "true") }}
{{- end }}

{{/* Whether a ScrapeConfig finds the workers of the stream, and each of them is scraped by itself. */}}
{{- define "clipstream.discoversWorkers" -}}
{{ and .Values.monitoring.scrapeConfig.enabled .Values.stream.enabled }}
{{- end }}

{{/* The label by which Kueue admits an object. */}}
{{- define "clipstream.queue" -}}
{{- with .Values.kueue.queueName }}kueue.x-k8s.io/queue-name: {{ . }}{{ end -}}
{{- end }}
