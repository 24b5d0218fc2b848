{{/* The container of an HTTP server with a Ray of its own. Takes root, text (of the settings). */}}
{{- define "clipstream.ownServer" -}}
{{- $serve := .root.Values.serve -}}
- name: serve
  args: [serve, --config, /etc/clipstream/settings/settings.yaml]
  {{- include "clipstream.container" . | nindent 2 }}
  env:
    {{- include "clipstream.ownRayEnv" . | nindent 4 }}
    {{- include "clipstream.env" (dict "root" .root "role" $serve) | nindent 4 }}
  ports:
    - {name: http, containerPort: {{ include "clipstream.httpPort" .text }}}
    - {name: health, containerPort: {{ include "clipstream.healthPort" .text }}}
  {{- include "clipstream.probes" (dict "root" .root "ready" "http") | nindent 2 }}
  lifecycle:
    preStop:
      # Load balancers need this long to notice that the pod is going.
      exec: {command: [sleep, {{ $serve.preStopSeconds | quote }}]}
  {{- include "clipstream.resources" $serve | nindent 2 }}
{{- end }}
