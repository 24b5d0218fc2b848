{{/* Settings as Clipstream reads them: what the pod's layout needs, and over it the user's values. */}}

{{/* A settings file. Takes root, and by choice overrides. */}}
{{- define "clipstream.settings" -}}
{{- $values := .root.Values -}}
{{- $settings := dict
  "endpoints" (dict "host" "0.0.0.0")
  "log" (dict "format" "json")
  "label_sets" (dict "paths" (list "/etc/clipstream/label-sets") "text_cache_dir" "/cache/text-embeddings")
  "serve" (dict "host" "0.0.0.0" "keys" "/etc/clipstream/http-keys")
-}}
{{- if not $values.secrets.httpKeys.name }}{{ $_ := unset $settings "serve" }}{{ end -}}
{{- if eq $values.model.source "baked" -}}
{{- $_ := set $settings "model" (dict "directory" $values.model.directory) -}}
{{- else if eq $values.model.source "volume" -}}
{{- $_ := set $settings "model" (dict "directory" (printf "/models/%s" $values.model.directory | trimSuffix "/")) -}}
{{- else if eq $values.model.source "s3" -}}
{{- $_ := set $settings "model" (dict "directory" "/models/checkpoint") -}}
{{- end -}}
{{- with $values.secrets.kafka }}{{ if .name -}}
{{- $security := dict -}}
{{- if .caKey }}{{ $_ := set $security "ca_file" "/etc/clipstream/kafka/ca.crt" }}{{ end -}}
{{- if .certificateKey }}{{ $_ := set $security "certificate_file" "/etc/clipstream/kafka/tls.crt" }}{{ end -}}
{{- if .privateKeyKey }}{{ $_ := set $security "key_file" "/etc/clipstream/kafka/tls.key" }}{{ end -}}
{{- if $security }}{{ $_ := set $settings "kafka" (dict "security" $security) }}{{ end -}}
{{- end }}{{ end -}}
{{- with $values.secrets.s3 }}{{ if and .name .caKey -}}
{{- $_ := set $settings "s3" (dict "ca_file" "/etc/clipstream/s3/ca.crt") -}}
{{- end }}{{ end -}}
{{- toYaml (mustMergeOverwrite $settings (deepCopy $values.settings) (deepCopy (.overrides | default dict))) -}}
{{- end }}

{{/* Settings of the driver of the stream. On a RayCluster it drives the HTTP server too. */}}
{{- define "clipstream.driverSettings" -}}
{{- if and .Values.serve.enabled (eq .Values.mode "kuberay") -}}
{{- include "clipstream.serveSettings" . -}}
{{- else -}}
{{- include "clipstream.settings" (dict "root" .) -}}
{{- end -}}
{{- end }}

{{/* Settings of whoever answers HTTP requests, in both modes. */}}
{{- define "clipstream.serveSettings" -}}
{{- include "clipstream.settings" (dict "root" . "overrides" .Values.serve.settings) -}}
{{- end }}

{{/* workers.grace_s of a settings file, in whole seconds, rounded up. Takes the file's text. */}}
{{- define "clipstream.grace" -}}
{{ dig "workers" "grace_s" 30 (fromYaml .) | float64 | ceil | int }}
{{- end }}

{{/* The driver's port and that of the HTTP server in a settings file. Each takes the file's text. */}}
{{- define "clipstream.healthPort" -}}
{{ dig "endpoints" "health_port" 8080 (fromYaml .) | int }}
{{- end }}

{{- define "clipstream.httpPort" -}}
{{ dig "serve" "port" 8000 (fromYaml .) | int }}
{{- end }}

{{/* Seconds that a pod has to end: what the user says, if it is enough. Takes grace, more, own, of. */}}
{{- define "clipstream.terminationGrace" -}}
{{- $needed := add .grace .more | int -}}
{{- if not .own -}}
{{ $needed }}
{{- else if lt (int .own) $needed -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d and workers.grace_s is %d: a pod needs %d s more; write %d or more, or null" .of (int .own) (int .grace) (int .more) $needed) -}}
{{- else -}}
{{ int .own }}
{{- end -}}
{{- end }}

{{- define "clipstream.labelSetsName" -}}
{{ .Values.labelSets.existingConfigMap | default (printf "%s-label-sets" (include "clipstream.fullname" .)) }}
{{- end }}
