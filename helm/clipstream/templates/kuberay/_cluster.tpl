{{/*
The spec of a RayCluster: a head without workers, and kinds of worker pods.

Takes root, component (of the worker pods), headComponent, settings (name), text (of the settings),
groups, dashboardHost, headContainers (text), headSpec and headVolumes (by choice), annotations, grace
(of the head), autoscales (by choice).
*/}}
{{- define "clipstream.rayClusterSpec" -}}
{{- $values := .root.Values -}}
{{- $drain := add (include "clipstream.grace" .text) 5 -}}
rayVersion: {{ $values.ray.version | quote }}
{{- if eq $values.ray.auth "token" }}
authOptions:
  mode: token
  {{- with $values.secrets.ray.name }}
  secretName: {{ . }}
  {{- end }}
{{- end }}
headGroupSpec:
  rayStartParams:
    # The head runs no worker.
    num-cpus: "0"
    num-gpus: "0"
    dashboard-host: {{ .dashboardHost }}
    object-store-memory: {{ $values.ray.objectStoreBytes | int64 | quote }}
    # KubeRay's default, 8080, is the driver's.
    metrics-export-port: "8089"
    temp-dir: /tmp/ray
  template:
    {{- include "clipstream.pod" (dict
          "root" .root "component" .headComponent "role" $values.head "grace" .grace "settings" .settings
          "annotations" .annotations "spec" (.headSpec | default dict)
          "containers" .headContainers "volumes" .headVolumes) | nindent 4 }}
workerGroupSpecs:
  {{- range .groups }}
  - groupName: {{ .kind }}
    {{- if $.autoscales }}
    minReplicas: {{ .minReplicas }}
    maxReplicas: {{ .maxReplicas }}
    {{- else }}
    replicas: {{ .replicas }}
    minReplicas: {{ .replicas }}
    maxReplicas: {{ .replicas }}
    {{- end }}
    {{- if eq $.component "backfill" }}
    # The operator writes this into each RayJob. If it were not here already, the list would become
    # the operator's, and Helm's next upgrade would end with a conflict.
    scaleStrategy: {}
    {{- end }}
    rayStartParams:
      num-gpus: {{ .gpu.count | int | quote }}
      metrics-export-port: "8089"
      object-store-memory: {{ $values.ray.objectStoreBytes | int64 | quote }}
    template:
      {{- $spread := include "clipstream.spread" (dict "root" $.root "component" $.component "kind" .kind) }}
      {{- $grace := include "clipstream.terminationGrace" (dict "grace" (include "clipstream.grace" $.text) "more" 20 "own" .terminationGracePeriodSeconds "of" "workers") }}
      {{- /* Only a driver's port has the series, and these pods run none: no annotation has them scraped. */}}
      {{- $annotations := pick $.annotations "checksum/settings" }}
      {{- include "clipstream.pod" (dict
            "root" $.root "component" $.component "kind" .kind "role" .
            "grace" $grace "settings" $.settings "annotations" $annotations "spec" (fromYaml $spread)
            "containers" (include "clipstream.rayWorker" (dict "root" $.root "group" . "drain" $drain))) | nindent 6 }}
  {{- end }}
{{- end }}

{{/* The container of Ray's processes on a worker pod; KubeRay writes its command. Takes root, group, drain. */}}
{{- define "clipstream.rayWorker" -}}
- name: ray-worker
  {{- include "clipstream.container" . | nindent 2 }}
  env:
    {{- include "clipstream.rayNodeEnv" . | nindent 4 }}
    {{- include "clipstream.env" (dict "root" .root "role" .group) | nindent 4 }}
  ports:
    - {name: metrics, containerPort: 8089}
  {{- include "clipstream.resources" .group | nindent 2 }}
{{- end }}

{{/*
The container of Ray's head; KubeRay writes its command. Takes root, and by choice healthPort of the
driver beside it, jobPort (that of a driver that runs here as a job), lines (more variables).
*/}}
{{- define "clipstream.rayHead" -}}
- name: ray-head
  {{- include "clipstream.container" . | nindent 2 }}
    {{- if and .healthPort .root.Values.ray.autoscaler.enabled }}
    - {name: ray-logs, mountPath: /tmp/ray}
    {{- end }}
  env:
    # No worker runs here, so nothing is left to drain.
    {{- include "clipstream.rayNodeEnv" (dict "root" .root "drain" 0) | nindent 4 }}
    {{- with .lines }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- include "clipstream.env" (dict "root" .root "role" .root.Values.head) | nindent 4 }}
  ports:
    # By their names KubeRay makes its Service of the head.
    - {name: gcs-server, containerPort: 6379}
    - {name: dashboard, containerPort: 8265}
    - {name: client, containerPort: 10001}
    - {name: metrics, containerPort: 8089}
    {{- with .jobPort }}
    - {name: health, containerPort: {{ . }}}
    {{- end }}
  {{- with .healthPort }}
  lifecycle:
    preStop:
      exec:
        # All containers get SIGTERM together. Ray must stay until the driver has drained its workers.
        command:
          - bash
          - -c
          - while (exec 3<>/dev/tcp/127.0.0.1/{{ . }}) 2>/dev/null; do sleep 0.5; done
  {{- end }}
  {{- include "clipstream.resources" .root.Values.head | nindent 2 }}
{{- end }}
