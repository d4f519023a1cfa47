{{/* Names are fixed: a cluster has one Weir, and `kubectl -n weir-system logs ds/weir` is right everywhere. */}}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Metadata of every object, from a dict of root, component and, where there are any, labels and annotations. */}}
{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: weir
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with merge (dict) (.labels | default dict) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "weir.metadata" -}}
labels:
  {{- include "weir.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Annotations of a pod: its own, and those by which a plain Prometheus finds it. */}}
{{- define "weir.podAnnotations" -}}
{{- $scrape := dict -}}
{{- if .root.Values.metrics.annotations -}}
{{- $scrape = dict "prometheus.io/scrape" "true" "prometheus.io/port" (toString .root.Values.metrics.port) "prometheus.io/path" "/metrics" -}}
{{- end -}}
{{- with merge (dict) .own $scrape .root.Values.commonAnnotations -}}
{{ toYaml . }}
{{- end -}}
{{- end }}

{{/* Arguments that both programs take. */}}
{{- define "weir.commonArgs" -}}
- --admin-address={{ .Values.metrics.address }}:{{ .Values.metrics.port }}
- --log-level={{ .Values.logLevel }}
{{- if eq .Values.logFormat "json" }}
- --log-json
{{- end }}
{{- end }}

{{/* Probes: alive as long as it answers, ready when it serves. */}}
{{- define "weir.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
{{- end }}
