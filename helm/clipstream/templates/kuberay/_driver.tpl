{{/* The driver beside Ray's head: of the stream, the HTTP server, or both. Takes root, text (settings). */}}
{{- define "clipstream.clusterDriver" -}}
{{- $values := .root.Values -}}
{{- $fullname := include "clipstream.fullname" .root -}}
{{- $command := list "stream" -}}
{{- if $values.serve.enabled }}{{ $command = ternary (list "serve" "--with-stream") (list "serve") $values.stream.enabled }}{{ end -}}
- name: driver
  args: {{ concat $command (list "--config" "/etc/clipstream/settings/settings.yaml") | toJson }}
  {{- include "clipstream.container" . | nindent 2 }}
    {{- if $values.ray.autoscaler.enabled }}
    - {name: ray-logs, mountPath: /tmp/ray}
    {{- end }}
  env:
    # One driver, whose pod has another name after each restart.
    - {name: CLIPSTREAM_KAFKA__INSTANCE, value: {{ $fullname }}}
    - {name: RAY_ADDRESS, value: "127.0.0.1:6379"}
    # The pod's containers share their processes, so that tini is not the first one.
    - {name: TINI_SUBREAPER, value: "1"}
    - {name: RAY_gcs_rpc_server_reconnect_timeout_s, value: {{ $values.ray.headLostSeconds | quote }}}
    {{- include "clipstream.rayTokenEnv" . | nindent 4 }}
    {{- include "clipstream.env" (dict "root" .root "role" $values.driver) | nindent 4 }}
  ports:
    - {name: health, containerPort: {{ include "clipstream.healthPort" .text }}}
    {{- if $values.serve.enabled }}
    - {name: http, containerPort: {{ include "clipstream.httpPort" .text }}}
    {{- end }}
  # The Service of HTTP clients leads here. A stream that does not work must not close it.
  {{- include "clipstream.probes" (dict "root" .root "ready" (ternary "http" "health" $values.serve.enabled)) | nindent 2 }}
  {{- include "clipstream.resources" $values.driver | nindent 2 }}
{{- end }}
