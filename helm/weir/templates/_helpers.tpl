{{/* The name that everything of this release begins with. */}}
{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* What tells the pods of a service from all others; never changes. Takes root and name. */}}
{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{/* Takes root and name. */}}
{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: weir
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "weir.serviceAccountName" -}}
{{- default (ternary (include "weir.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{/* The service's own HTTP port, its metrics, and the gateway's public ports, inside the pods. */}}
{{- define "weir.port.http" }}3000{{ end }}
{{- define "weir.port.metrics" }}9464{{ end }}
{{- define "weir.port.public" }}8080{{ end }}
{{- define "weir.port.publicTls" }}8443{{ end }}

{{/*
What services need besides NATS and Redis: a database; the streams' RTP from media nodes, on any UDP port, and the
setting that is given their address for it.
*/}}
{{- define "weir.needs" -}}
database: [auth, robot-channel, relay-push]
rtp: [hls-packager, relay-push]
rtpAddress:
  media: WEIR_MEDIA_INTERNAL_ADDRESS
  hls-packager: WEIR_HLS_RTP_ADDRESS
  relay-push: WEIR_RELAY_RTP_ADDRESS
{{- end }}

{{/* Longer than what a stop may take: the preStop pause, the drain, and five seconds in which a service gives up. */}}
{{- define "weir.gracePeriodSeconds" -}}
{{ add .Values.preStopSeconds .Values.drainSeconds 15 }}
{{- end }}

{{/* How clients reach weir, as far as it is known. */}}
{{- define "weir.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{ .Values.publicUrl }}
{{- else if .Values.ingress.enabled -}}
{{ ternary "https" "http" (gt (len .Values.ingress.tls) 0) }}://{{ first .Values.ingress.hosts }}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
https://{{ first .Values.httpRoute.hostnames }}
{{- end -}}
{{- end }}

{{/* What the schema of the values can't say. */}}
{{- define "weir.check" -}}
{{- with .Values.services.media -}}
{{- if .enabled -}}
{{- $nodes := ternary (int .replicas) 1 (eq .expose "NodePort") -}}
{{- $lastPort := sub (add .port (mul $nodes .workers)) 1 | int -}}
{{- $lastRtspPort := sub (add .rtspPort $nodes) 1 | int -}}
{{- if and (le (int .rtspPort) $lastPort) (le (int .port) $lastRtspPort) -}}
{{- fail (printf "services.media: ports %d-%d for media and %d-%d for RTSP overlap" (int .port) $lastPort (int .rtspPort) $lastRtspPort) -}}
{{- end -}}
{{- $limit := ternary 32767 65535 (eq .expose "NodePort") -}}
{{- if gt (max $lastPort $lastRtspPort | int) $limit -}}
{{- fail (printf "services.media: ports beyond %d are needed for %d nodes with %d workers" $limit $nodes (int .workers)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not .Values.services.gateway.enabled) -}}
{{- fail "ingress and httpRoute lead to the gateway: services.gateway.enabled must be true" -}}
{{- end -}}
{{- end }}
