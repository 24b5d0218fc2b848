{{/*
Variables of every container. Workers read secrets from their own pod, and never through Ray.

Takes root, and by choice role: the section of the values with the container's `env` and `gpu`.
*/}}
{{- define "clipstream.env" -}}
{{- $values := .root.Values -}}
{{- $role := .role | default dict -}}
- {name: HF_HOME, value: /cache/huggingface}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
- {name: TRITON_CACHE_DIR, value: /cache/triton}
{{- if not (dig "gpu" "count" 0 $role) }}
# Without a limit on GPUs, some runtimes show a container all of them.
- {name: NVIDIA_VISIBLE_DEVICES, value: void}
{{- end }}
{{- with $values.secrets.kafka }}{{ if .name }}
{{- include "clipstream.secretVariable" (list "CLIPSTREAM_KAFKA__SECURITY__USERNAME" .name .usernameKey) }}
{{- include "clipstream.secretVariable" (list "CLIPSTREAM_KAFKA__SECURITY__PASSWORD" .name .passwordKey) }}
{{- include "clipstream.secretVariable" (list "CLIPSTREAM_KAFKA__SECURITY__OAUTH_CLIENT_SECRET" .name .oauthClientSecretKey) }}
{{- include "clipstream.secretVariable" (list "CLIPSTREAM_KAFKA__SECURITY__KEY_PASSWORD" .name .privateKeyPasswordKey) }}
{{- end }}{{ end }}
{{- with $values.secrets.s3 }}{{ if .name }}
{{- include "clipstream.secretVariable" (list "AWS_ACCESS_KEY_ID" .name .accessKeyIdKey) }}
{{- include "clipstream.secretVariable" (list "AWS_SECRET_ACCESS_KEY" .name .secretAccessKeyKey) }}
{{- include "clipstream.secretVariable" (list "AWS_SESSION_TOKEN" .name .sessionTokenKey) }}
{{- end }}{{ end }}
{{- with $values.secrets.hub }}{{ if .name }}
{{- include "clipstream.secretVariable" (list "HF_TOKEN" .name .tokenKey) }}
{{- end }}{{ end }}
{{- with concat $values.extraEnv ($role.env | default list) }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A variable from a key of a Secret; nothing without a key. Takes name, Secret, key. */}}
{{- define "clipstream.secretVariable" -}}
{{- if index . 2 }}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
{{- end }}
{{- end }}

{{/* Variables of a container that starts a Ray of its own, which makes its own token. Takes root. */}}
{{- define "clipstream.ownRayEnv" -}}
- {name: RAY_AUTH_MODE, value: {{ .root.Values.ray.auth }}}
{{- end }}

{{/*
Variables of a container of Ray's own processes. Takes root, drain (seconds that a node that goes away
leaves its workers).
*/}}
{{- define "clipstream.rayNodeEnv" -}}
{{- $values := .root.Values -}}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
- {name: RAY_ENABLE_UV_RUN_RUNTIME_ENV, value: "0"}
- {name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, value: {{ .drain | quote }}}
- {name: RAY_gcs_rpc_server_reconnect_timeout_s, value: {{ $values.ray.headLostSeconds | quote }}}
{{- if $values.serve.enabled }}
# Ray Serve reads these when its processes start, on every node.
- {name: RAY_SERVE_ENABLE_HA_PROXY, value: {{ ternary "0" "1" (eq (dig "serve" "proxy" "auto" (fromYaml (include "clipstream.driverSettings" .root))) "python") | quote }}}
- {name: RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH, value: "workers.serve.admission.internal_headers:middlewares"}
- {name: RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S, value: "30.0"}
- {name: RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S, value: "30.0"}
- {name: RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S, value: "60"}
- {name: RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL, value: "10"}
- {name: RAY_SERVE_HAPROXY_HEALTH_CHECK_FASTINTER, value: 1s}
- {name: RAY_SERVE_HAPROXY_OBSERVE_MARK_DOWN_ENABLED, value: "0"}
- {name: RAY_SERVE_HAPROXY_MAXCONN, value: {{ $values.serve.maxConnections | quote }}}
- {name: RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S, value: {{ $values.serve.preStopSeconds | quote }}}
{{- end }}
{{- end }}

{{/* Ray's token for a container that joins the release's RayCluster. Takes root. */}}
{{- define "clipstream.rayTokenEnv" -}}
- {name: RAY_AUTH_MODE, value: {{ .root.Values.ray.auth }}}
{{- if eq .root.Values.ray.auth "token" }}
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secrets.ray.name | default (include "clipstream.fullname" .root) }}, key: auth_token}}
{{- end }}
{{- end }}
