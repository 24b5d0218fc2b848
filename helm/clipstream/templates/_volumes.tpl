{{/* Volumes and mounts, the same in every pod. */}}

{{- define "clipstream.volumes" -}}
{{- $values := .root.Values -}}
- name: settings
  configMap: {name: {{ .settings }}}
- name: label-sets
  {{- if .labelSets }}
  {{- .labelSets | nindent 2 }}
  {{- else }}
  configMap: {name: {{ include "clipstream.labelSetsName" .root }}}
  {{- end }}
- name: tmp
  emptyDir: {sizeLimit: {{ $values.temporaryStorage }}}
# KubeRay adds a volume of this name unless there is one.
- name: shared-mem
  emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemory }}}
{{- if not .claimsCache }}
- name: cache
  {{- toYaml $values.cache.volume | nindent 2 }}
{{- end }}
{{- if eq $values.model.source "volume" }}
- name: model
  {{- toYaml $values.model.volume | nindent 2 }}
{{- else if eq $values.model.source "s3" }}
- name: model
  emptyDir: {}
{{- end }}
{{- with include "clipstream.kafkaFiles" .root }}
- name: kafka
  secret:
    secretName: {{ $values.secrets.kafka.name }}
    defaultMode: 0440
    items:
      {{- . | nindent 6 }}
{{- end }}
{{- if and $values.secrets.s3.name $values.secrets.s3.caKey }}
- name: s3
  secret:
    secretName: {{ $values.secrets.s3.name }}
    defaultMode: 0440
    items:
      - {key: {{ $values.secrets.s3.caKey }}, path: ca.crt}
{{- end }}
{{- with $values.secrets.httpKeys.name }}
- name: http-keys
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .volumes }}
{{ . }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "clipstream.volumeMounts" -}}
{{- $values := .root.Values -}}
- {name: settings, mountPath: /etc/clipstream/settings, readOnly: true}
- {name: label-sets, mountPath: /etc/clipstream/label-sets, readOnly: true}
- {name: tmp, mountPath: /tmp}
- {name: shared-mem, mountPath: /dev/shm}
- {name: cache, mountPath: /cache}
{{- if has $values.model.source (list "volume" "s3") }}
- {name: model, mountPath: /models, readOnly: {{ not .copies }}}
{{- end }}
{{- if include "clipstream.kafkaFiles" .root }}
- {name: kafka, mountPath: /etc/clipstream/kafka, readOnly: true}
{{- end }}
{{- if and $values.secrets.s3.name $values.secrets.s3.caKey }}
- {name: s3, mountPath: /etc/clipstream/s3, readOnly: true}
{{- end }}
{{- if $values.secrets.httpKeys.name }}
- {name: http-keys, mountPath: /etc/clipstream/http-keys, readOnly: true}
{{- end }}
{{- with $values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The keys of Kafka's Secret that become files. */}}
{{- define "clipstream.kafkaFiles" -}}
{{- with .Values.secrets.kafka }}{{ if .name -}}
{{- if .caKey }}
- {key: {{ .caKey }}, path: ca.crt}
{{- end }}
{{- if .certificateKey }}
- {key: {{ .certificateKey }}, path: tls.crt}
{{- end }}
{{- if .privateKeyKey }}
- {key: {{ .privateKeyKey }}, path: tls.key}
{{- end }}
{{- end }}{{ end -}}
{{- end }}

{{/* A token of the ServiceAccount, for the one container that mounts it. Takes root. */}}
{{- define "clipstream.tokenVolume" -}}
- name: kubernetes
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: {{ .Values.scaleIn.tokenSeconds }}}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
