{{/* The command line of a backfill. */}}

{{/* A word for the shell. `${DAY}` in it becomes the variable. */}}
{{- define "clipstream.word" -}}
{{- $quoted := printf "'%s'" (. | replace "'" "'\\''") -}}
{{- $quoted | replace "${DAY}" "'\"$day\"'" -}}
{{- end }}

{{/* The arguments as a list of texts. Takes job. */}}
{{- define "clipstream.backfillArguments" -}}
{{- concat (list "backfill" "run" .job.source "--output" .job.output) .job.args (list "--config" "/etc/clipstream/settings/settings.yaml") | toJson -}}
{{- end }}

{{/* The arguments as words for a shell. Takes job. */}}
{{- define "clipstream.backfillWords" -}}
{{- $words := list -}}
{{- range fromJsonArray (include "clipstream.backfillArguments" .) }}{{ $words = append $words (include "clipstream.word" .) }}{{ end -}}
{{- join " " $words -}}
{{- end }}

{{/* What a scheduled job runs: the day is that of its schedule, however late a pod starts. Takes job. */}}
{{- define "clipstream.backfillScript" -}}
minute=${JOB##*-}
if [[ $minute =~ ^[0-9]{8,}$ ]]; then day=$(date -u -d "@$((minute * 60))" +%Y-%m-%d); else day=$(date -u +%Y-%m-%d); fi
since=()
{{- if .job.firstDay }}
each={{ .job.firstDay }}
while [[ $each < $day ]]; do
  # A day without a job is passed over.
  output={{ include "clipstream.word" (.job.output | replace "${DAY}" "${EACH}") | replace "${EACH}" "'\"$each\"'" }}
  if clipstream backfill status "$output" --config /etc/clipstream/settings/settings.yaml >/dev/null; then since+=(--since "$output"); fi
  each=$(date -u -d "$each + 1 day" +%Y-%m-%d)
done
{{- end }}
exec clipstream {{ include "clipstream.backfillWords" . }} "${since[@]}"
{{- end }}

{{/*
The pod of a backfill with a Ray of its own. Takes root, job, name, text (of the settings), restart and
by choice script.
*/}}
{{- define "clipstream.backfillPod" -}}
{{- include "clipstream.pod" (dict
      "root" .root "component" "backfill" "role" .job "grace" (add (include "clipstream.grace" .text) 20)
      "settings" (printf "%s-settings" .name)
      "annotations" (fromYaml (include "clipstream.driverAnnotations" (dict "root" .root "text" .text)))
      "spec" (dict "restartPolicy" "Never")
      "containers" (include "clipstream.backfillContainer" .)) -}}
{{- end }}

{{- define "clipstream.backfillContainer" -}}
- name: backfill
  {{- if .script }}
  command: [tini, --, bash, -euc]
  args:
    - |
      {{- .script | nindent 6 }}
  {{- else }}
  args: {{ include "clipstream.backfillArguments" . }}
  {{- end }}
  {{- include "clipstream.container" . | nindent 2 }}
  env:
    {{- if .script }}
    - name: JOB
      valueFrom: {fieldRef: {fieldPath: "metadata.labels['batch.kubernetes.io/job-name']"}}
    {{- end }}
    {{- include "clipstream.ownRayEnv" . | nindent 4 }}
    {{- include "clipstream.env" (dict "root" .root "role" .job) | nindent 4 }}
  ports:
    - {name: health, containerPort: {{ include "clipstream.healthPort" .text }}}
  {{- include "clipstream.resources" .job | nindent 2 }}
{{- end }}

{{/* What ends a job for good: wrong settings, and a halt that a person must mend. */}}
{{- define "clipstream.backfillFailures" -}}
podFailurePolicy:
  rules:
    # An eviction is no failure of the job.
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    - action: FailJob
      onExitCodes: {containerName: backfill, operator: In, values: [2, 3]}
{{- end }}
