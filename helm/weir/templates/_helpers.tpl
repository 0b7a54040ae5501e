{{/* The beginning of all names in this release. */}}
{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The labels that select the pods of a service. They must never change. Takes root and name. */}}
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

{{/* Ports inside the pods: the service's own HTTP, its metrics, and the gateway's public ports. */}}
{{- define "weir.port.http" }}3000{{ end }}
{{- define "weir.port.metrics" }}9464{{ end }}
{{- define "weir.port.public" }}8080{{ end }}
{{- define "weir.port.publicTls" }}8443{{ end }}

{{/*
What services need besides NATS and Redis: a database; RTP from media nodes on any UDP port; and the setting that holds
their own address for RTP.
*/}}
{{- define "weir.needs" -}}
database: [auth, robot-channel, relay-push, recording, call-broker]
rtp: [hls-packager, relay-push, recording]
iceServers: [recording, call-broker]
rtpAddress:
  media: WEIR_MEDIA_INTERNAL_ADDRESS
  hls-packager: WEIR_HLS_RTP_ADDRESS
  relay-push: WEIR_RELAY_RTP_ADDRESS
  recording: WEIR_RECORDING_RTP_ADDRESS
{{- end }}

{{/* Longer than the longest stop: the preStop pause, the drain, and five seconds until a service gives up. */}}
{{- define "weir.gracePeriodSeconds" -}}
{{ add .Values.preStopSeconds .Values.drainSeconds 15 }}
{{- end }}

{{/* The URL at which clients reach weir; empty if it is unknown. */}}
{{- define "weir.publicUrl" -}}
{{- if .Values.publicUrl -}}
{{ .Values.publicUrl }}
{{- else if .Values.ingress.enabled -}}
{{ ternary "https" "http" (gt (len .Values.ingress.tls) 0) }}://{{ first .Values.ingress.hosts }}
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
https://{{ first .Values.httpRoute.hostnames }}
{{- end -}}
{{- end }}

{{/* Checks that the values' schema can't express. */}}
{{- define "weir.check" -}}
{{- with .Values.services.media -}}
{{- if .enabled -}}
{{- if and .rtsps.caSecret (not .rtsps.verify) -}}
{{- fail "services.media.rtsps: caSecret vouches for nobody without verify" -}}
{{- end -}}
{{- $nodes := ternary (int .replicas) 1 (eq .expose "NodePort") -}}
{{- $lastPort := sub (add .port (mul $nodes .workers)) 1 | int -}}
{{- $lastRtspPort := sub (add .rtspPort $nodes) 1 | int -}}
{{- if and (le (int .rtspPort) $lastPort) (le (int .port) $lastRtspPort) -}}
{{- fail (printf "services.media: ports %d-%d for media and %d-%d for RTSP overlap; change port or rtspPort" (int .port) $lastPort (int .rtspPort) $lastRtspPort) -}}
{{- end -}}
{{- $limit := ternary 32767 65535 (eq .expose "NodePort") -}}
{{- if gt (max $lastPort $lastRtspPort | int) $limit -}}
{{- fail (printf "services.media: %d nodes with %d workers need ports beyond %d; lower port or rtspPort" $nodes (int .workers) $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.services.recording -}}
{{- if and .enabled (gt (int .replicas) 1) (not .storage.existingClaim) -}}
{{- fail "services.recording: more than one replica needs a volume that they share; name its claim in storage.existingClaim" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.turn.enabled (not (and .Values.turn.allowedPeers .Values.turn.urls)) -}}
{{- fail "turn: name the addresses at which media are announced in allowedPeers, and the URLs for clients in urls" -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled .Values.httpRoute.enabled) (not .Values.services.gateway.enabled) -}}
{{- fail "ingress and httpRoute lead to the gateway: set services.gateway.enabled to true" -}}
{{- end -}}
{{- end }}
