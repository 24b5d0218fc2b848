{{/* Combinations of values that cannot work. Each message names the value and what to write. */}}
{{- define "clipstream.checks" -}}
{{- $values := .Values -}}
{{- $settings := fromYaml (include "clipstream.driverSettings" .) -}}
{{- $workers := $settings.workers | default dict -}}
{{- $jobs := $values.backfill.jobs -}}
{{- if not (or $values.stream.enabled $values.serve.enabled $jobs) -}}
{{- fail "nothing to run: set stream.enabled or serve.enabled, or add a job to backfill.jobs" -}}
{{- end -}}
{{- if dig "kafka" "instance" "" $values.settings -}}
{{- fail "settings.kafka.instance: the chart names each driver after its pod; leave it out" -}}
{{- end -}}
{{- if not (or $values.labelSets.files $values.labelSets.existingConfigMap (dig "label_sets" "paths" "" $values.settings)) -}}
{{- fail "labelSets: there is none; write one into labelSets.files, or name a ConfigMap in labelSets.existingConfigMap" -}}
{{- end -}}
{{- with $values.model -}}
{{- if and (eq .source "baked") (not .directory) }}{{ fail "model.directory: write where the image has the checkpoint, because model.source is baked" }}{{ end -}}
{{- if and (eq .source "volume") (not .volume) }}{{ fail "model.volume: write the volume with the checkpoint, because model.source is volume" }}{{ end -}}
{{- if and (eq .source "s3") (not .uri) }}{{ fail "model.uri: write s3://BUCKET/PREFIX of the checkpoint, because model.source is s3" }}{{ end -}}
{{- if and (ne .source "s3") .revision }}{{ fail "model.revision: leave it out, because model.source is not s3; settings.model.revision pins a model of the hub" }}{{ end -}}
{{- end -}}
{{- if and $values.serve.enabled (not $values.secrets.httpKeys.name) -}}
{{- fail "secrets.httpKeys.name: write the Secret with the keys of HTTP clients, because serve.enabled opens an address to others" -}}
{{- end -}}
{{- with $values.serve.ingress }}{{ if and .enabled (not .host) }}{{ fail "serve.ingress.host: write the host name of the Ingress" }}{{ end }}{{ end -}}
{{- with $values.serve.httpRoute }}{{ if and .enabled (not .parentRefs) }}{{ fail "serve.httpRoute.parentRefs: write the Gateway that the route joins" }}{{ end }}{{ end -}}
{{- if ne (empty $values.test.bucket) (empty $values.test.key) -}}
{{- fail "test.bucket and test.key: write both, or none" -}}
{{- end -}}
{{- if and $values.test.upload (not $values.test.bucket) }}{{ fail "test.bucket and test.key: write where test.upload puts its image" }}{{ end -}}
{{- include "clipstream.checkScaling" . -}}
{{- if $values.stream.enabled -}}
{{- range (fromYaml (include "clipstream.groups" .)).groups -}}
{{- include "clipstream.checkGpus" (dict "settings" $settings "gpu" .gpu "most" ($workers.max_count | default $workers.count | default 1) "fits" (eq $values.mode "deployment") "of" (ternary (printf "groups: %s: gpu.count" .name) "workers.gpu.count" (ne .name ""))) -}}
{{- end -}}
{{- end -}}
{{- if and $values.serve.enabled (eq $values.mode "deployment") -}}
{{- $own := fromYaml (include "clipstream.serveSettings" .) -}}
{{- $replicas := $own.serve.max_replicas | default $own.serve.min_replicas | default 1 -}}
{{- include "clipstream.checkGpus" (dict "settings" $own "gpu" $values.serve.gpu "most" $replicas "fits" true "of" "serve.gpu.count") -}}
{{- end -}}
{{- $names := list -}}
{{- range $jobs -}}
{{- $job := mustMergeOverwrite (deepCopy $values.backfill.job) (deepCopy .) -}}
{{- if not (and $job.source $job.output) }}{{ fail (printf "backfill.jobs: %s needs source and output" $job.name) }}{{ end -}}
{{- if has $job.name $names }}{{ fail (printf "backfill.jobs: two jobs are called %s" $job.name) }}{{ end -}}
{{- $names = append $names $job.name -}}
{{- $own := fromYaml (include "clipstream.settings" (dict "root" $ "overrides" $job.settings)) -}}
{{- include "clipstream.checkGpus" (dict "settings" $own "gpu" $job.gpu "most" (dig "workers" "count" 1 $own) "fits" (eq $values.mode "deployment") "of" (printf "backfill.jobs: %s: gpu.count" $job.name)) -}}
{{- if and $job.firstDay (not (contains "${DAY}" $job.output)) }}{{ fail (printf "backfill.jobs: %s has firstDay; write ${DAY} in its output, so that each day has an output of its own" $job.name) }}{{ end -}}
{{- end -}}
{{- end }}

{{/*
Whether the workers of a pod find the GPUs that they ask for. Takes settings, gpu, most (workers), fits
(whether all of them are in one pod), of (the value to change).
*/}}
{{- define "clipstream.checkGpus" -}}
{{- $share := dig "workers" "gpus_per_worker" "auto" .settings -}}
{{- $number := ternary 0.0 $share (eq (toString $share) "auto") | float64 -}}
{{- $count := int .gpu.count -}}
{{- if and (or (gt $number 0.0) (eq (dig "model" "device" "auto" .settings) "cuda")) (not $count) -}}
{{- fail (printf "%s is 0, and the settings ask for a GPU (workers.gpus_per_worker, model.device): write the GPUs of each pod" .of) -}}
{{- end -}}
{{- if and .fits (gt (mulf .most $number) (float64 $count)) -}}
{{- fail (printf "%s is %d, and %v workers with %v of a GPU each do not fit: some would wait for ever; raise it, or lower workers.count or workers.gpus_per_worker in the settings" .of $count .most $share) -}}
{{- end -}}
{{- end }}

{{- define "clipstream.checkScaling" -}}
{{- $values := .Values -}}
{{- if and (or $values.keda.enabled $values.hpa.enabled) $values.stream.enabled -}}
{{- if ne $values.mode "deployment" }}{{ fail "keda.enabled and hpa.enabled need mode deployment; a RayCluster scales by ray.autoscaler.enabled" }}{{ end -}}
{{- if and $values.keda.enabled $values.hpa.enabled }}{{ fail "keda.enabled and hpa.enabled: both would scale the same pods; choose one" }}{{ end -}}
{{- if gt (len $values.groups) 1 }}{{ fail "groups: with keda.enabled or hpa.enabled there can be one kind of worker pods, because each kind would answer to the whole lag" }}{{ end -}}
{{- end -}}
{{- with $values.keda }}{{ if .enabled -}}
{{- if gt (int .minReplicas) (int .maxReplicas) }}{{ fail "keda.minReplicas is above keda.maxReplicas" }}{{ end -}}
{{- $each := dig "workers" "count" 1 $values.settings | int -}}
{{- if gt (mul .maxReplicas $each | int) (int $values.topics.partitions) -}}
{{- fail (printf "keda.maxReplicas %d with %d workers each is above topics.partitions %d: the others would have no partition" (int .maxReplicas) $each (int $values.topics.partitions)) -}}
{{- end -}}
{{- $mechanism := dig "kafka" "security" "sasl_mechanism" "" $values.settings -}}
{{- with $values.secrets.kafka }}{{ if and (has $mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512")) (not (and .name .usernameKey .passwordKey)) -}}
{{- fail "secrets.kafka: KEDA reads the user name and the password from the Secret; write name, usernameKey and passwordKey" -}}
{{- end }}{{ end -}}
{{- if has $mechanism (list "GSSAPI" "OAUTHBEARER") }}{{ fail (printf "keda.enabled: the chart has no trigger for %s; write your own ScaledObject into extraObjects" $mechanism) }}{{ end -}}
{{- if and (eq $mechanism "AWS_MSK_IAM") (not .awsRegion) }}{{ fail "keda.awsRegion: write the region of the brokers" }}{{ end -}}
{{- end }}{{ end -}}
{{- end }}
