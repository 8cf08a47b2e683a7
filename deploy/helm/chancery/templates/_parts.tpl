{{- define "chancery.labels" -}}
app.kubernetes.io/name: chancery
app.kubernetes.io/part-of: chancery
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "chancery.selector" -}}
{ app.kubernetes.io/name: chancery, app.kubernetes.io/component: {{ . }} }
{{- end }}

{{- define "chancery.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "chancery.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "chancery.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "chancery.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector: { matchLabels: { app.kubernetes.io/name: chancery, app.kubernetes.io/component: {{ . }} } }
{{- end }}

{{- define "chancery.databaseUrl" -}}
- name: DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.secrets.database }}, key: url } }
{{- if eq .Values.queue "redis" }}
- name: REDIS_URL
  valueFrom: { secretKeyRef: { name: {{ .Values.secrets.database }}, key: redis-url } }
{{- end }}
{{- end }}

{{- define "chancery.discoveryNamespaces" -}}
{{- .Values.discovery.namespaces | uniq | join "," -}}
{{- end }}

{{- define "chancery.probes" -}}
livenessProbe:
  httpGet: { path: /healthz, port: {{ .port }}, scheme: {{ .scheme | default "HTTP" }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: {{ .port }}, scheme: {{ .scheme | default "HTTP" }} }
  periodSeconds: 5
  timeoutSeconds: 5
startupProbe:
  httpGet: { path: /healthz, port: {{ .port }}, scheme: {{ .scheme | default "HTTP" }} }
  periodSeconds: 2
  failureThreshold: 60
{{- end }}

{{- define "chancery.dns" -}}
- to:
    {{- with .Values.network.dns.to }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }
    {{- end }}
  ports:
    - { protocol: UDP, port: 53 }
    - { protocol: TCP, port: 53 }
{{- end }}

{{- define "chancery.stores" -}}
- ports: [{ protocol: TCP, port: {{ .Values.network.postgres.port }} }]
  {{- with .Values.network.postgres.to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- if eq .Values.queue "redis" }}
- ports: [{ protocol: TCP, port: {{ .Values.network.redis.port }} }]
  {{- with .Values.network.redis.to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
