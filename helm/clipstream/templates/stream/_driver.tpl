{{/* The container of a driver with a Ray of its own. Takes root, group, name, text (of the settings). */}}
{{- define "clipstream.ownDriver" -}}
{{- $values := .root.Values -}}
- name: driver
  args: [stream, --config, /etc/clipstream/settings/settings.yaml]
  {{- include "clipstream.container" . | nindent 2 }}
    {{- if $values.scaleIn.enabled }}
    - {name: kubernetes, mountPath: /var/run/secrets/clipstream/kubernetes, readOnly: true}
    {{- end }}
  env:
    # A pod that comes back has its old name, and with it its old partitions.
    - name: CLIPSTREAM_KAFKA__INSTANCE
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    {{- if $values.scaleIn.enabled }}
    - {name: CLIPSTREAM_KUBERNETES__STATEFULSET, value: {{ .name }}}
    - name: CLIPSTREAM_KUBERNETES__NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    - name: CLIPSTREAM_KUBERNETES__POD
      valueFrom: {fieldRef: {fieldPath: metadata.name}}
    - {name: CLIPSTREAM_KUBERNETES__TOKEN_FOLDER, value: /var/run/secrets/clipstream/kubernetes}
    {{- end }}
    {{- include "clipstream.ownRayEnv" . | nindent 4 }}
    {{- include "clipstream.env" (dict "root" .root "role" .group) | nindent 4 }}
  ports:
    - {name: health, containerPort: {{ include "clipstream.healthPort" .text }}}
  {{- include "clipstream.probes" . | nindent 2 }}
  {{- include "clipstream.resources" .group | nindent 2 }}
{{- end }}
