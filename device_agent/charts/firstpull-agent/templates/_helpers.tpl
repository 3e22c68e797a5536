{{/* The name of what the release makes. */}}
{{- define "firstpull-agent.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What makes this agent's Secrets its own, and another release's another's: a label's value. */}}
{{- define "firstpull-agent.instance" -}}
{{- $instance := printf "%s.%s" .Release.Namespace .Release.Name -}}
{{- if gt (len $instance) 63 -}}
{{- fail "the names of namespace and release must together have at most 62 characters" -}}
{{- end -}}
{{- $instance -}}
{{- end -}}

{{- define "firstpull-agent.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "firstpull-agent.labels" -}}
{{ include "firstpull-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What the agent may do in a namespace, and no more: see docs/kubernetes.md. */}}
{{- define "firstpull-agent.rules" -}}
- apiGroups: [""]
  resources: [secrets]
  # list and watch: its own Secrets, and whether somebody else has one of the name.
  # patch and create: server-side apply.
  verbs: [list, watch, patch, create, delete]
{{- with .Values.serviceAccounts }}
- apiGroups: [""]
  resources: [serviceaccounts]
  resourceNames: {{ toJson . }}
  verbs: [get, patch]
{{- end }}
{{- end -}}

{{- define "firstpull-agent.subjects" -}}
- kind: ServiceAccount
  name: {{ include "firstpull-agent.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
