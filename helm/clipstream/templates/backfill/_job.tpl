{{/* Specs of backfills that run once. Each takes root, job, name, text (of the settings). */}}

{{/* Mode deployment: one pod with a Ray of its own. */}}
{{- define "clipstream.backfillJob" -}}
backoffLimit: {{ .job.backoffLimit }}
{{ include "clipstream.backfillFailures" . }}
template:
  {{- include "clipstream.backfillPod" . | nindent 2 }}
{{- end }}

{{/* Mode kuberay: a cluster that comes and goes with the job. */}}
{{- define "clipstream.backfillRayJob" -}}
{{- $grace := add (include "clipstream.grace" .text) 20 -}}
entrypoint: clipstream {{ include "clipstream.backfillWords" . }}
# The driver asks Ray for no CPU.
entrypointNumCpus: 0
backoffLimit: {{ .job.backoffLimit }}
# KubeRay suspends no job without it, and would leave the cluster.
shutdownAfterJobFinishes: true
ttlSecondsAfterFinished: {{ .job.ttlSecondsAfterFinished }}
submitterPodTemplate:
  {{- include "clipstream.pod" (dict
        "root" .root "component" "backfill" "role" .root.Values.head "grace" 30 "settings" (printf "%s-settings" .name)
        "spec" (dict "restartPolicy" "Never")
        "containers" (include "clipstream.backfillSubmitter" .)) | nindent 2 }}
rayClusterSpec:
  {{- include "clipstream.rayClusterSpec" (dict
        "root" .root "component" "backfill" "headComponent" "backfill" "settings" (printf "%s-settings" .name) "text" .text
        "groups" (list (merge (dict "kind" "workers" "terminationGracePeriodSeconds" nil) .job))
        "dashboardHost" "0.0.0.0"
        "headContainers" (include "clipstream.rayHead" (dict
          "root" .root
          "jobPort" (include "clipstream.healthPort" .text)
          "lines" (printf "- {name: RAY_JOB_STOP_WAIT_TIME_S, value: %q}" (toString $grace))))
        "annotations" (fromYaml (include "clipstream.driverAnnotations" (dict "root" .root "text" .text)))
        "grace" (add $grace 10)) | nindent 2 }}
{{- end }}

{{/* The pod that hands the command to the cluster and follows it. KubeRay writes its command. */}}
{{- define "clipstream.backfillSubmitter" -}}
- name: submitter
  {{- include "clipstream.container" . | nindent 2 }}
  env:
    {{- include "clipstream.env" (dict "root" .root) | nindent 4 }}
  resources:
    requests: {cpu: 100m, memory: 256Mi}
    limits: {memory: 1Gi}
{{- end }}
