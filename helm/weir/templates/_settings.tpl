{{/*
The settings of a service, without secrets, as a map of environment variables. The operator's own take precedence over
the chart's. Takes root, name and service.
*/}}
{{- define "weir.settings" -}}
{{- $own := fromYaml (include (printf "weir.settings.%s" .name) .) -}}
{{- if $own.Error }}{{ fail (printf "settings of %s: %s" .name $own.Error) }}{{ end -}}
{{- $common := fromYaml (include "weir.settings.common" .) -}}
{{- range $key, $value := merge (dict) .service.settings $own $common }}
{{ $key }}: {{ toString $value | quote }}
{{- end }}
{{- end }}

{{- define "weir.settings.common" -}}
{{- $values := .root.Values -}}
{{- $needs := fromYaml (include "weir.needs" .root) -}}
LOG_LEVEL: {{ $values.logLevel }}
WEIR_LISTEN_HOST: 0.0.0.0
WEIR_LISTEN_PORT: "{{ include "weir.port.http" .root }}"
WEIR_DRAIN_TIMEOUT_MS: "{{ mul $values.drainSeconds 1000 }}"
OTEL_SERVICE_NAME: weir-{{ .name }}
{{- if and $values.turn.enabled (has .name $needs.iceServers) }}
WEIR_STUN_URLS: {{ join "," $values.turn.stunUrls | quote }}
WEIR_TURN_URLS: {{ join "," $values.turn.urls | quote }}
{{- end }}
{{- with $values.telemetry.otlpEndpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . }}
{{- end }}
{{- if $values.metrics.enabled }}
OTEL_METRICS_EXPORTER: prometheus
OTEL_EXPORTER_PROMETHEUS_HOST: 0.0.0.0
OTEL_EXPORTER_PROMETHEUS_PORT: "{{ include "weir.port.metrics" .root }}"
{{- else }}
OTEL_METRICS_EXPORTER: none
{{- end }}
{{- end }}

{{- define "weir.settings.gateway" -}}
{{- $root := .root -}}
WEIR_HTTP_PORT: "{{ include "weir.port.public" $root }}"
WEIR_HTTPS_PORT: "{{ include "weir.port.publicTls" $root }}"
WEIR_CORS_ORIGINS: {{ join "," .service.corsOrigins | quote }}
WEIR_ALLOWED_HOSTS: {{ join "," .service.allowedHosts | quote }}
WEIR_TRUSTED_PROXIES: {{ join "," .service.trustedProxies | quote }}
{{- if .service.tls.existingSecret }}
WEIR_TLS_CERT: /etc/weir/tls/tls.crt
WEIR_TLS_KEY: /etc/weir/tls/tls.key
{{- end }}
{{- range $name, $service := $root.Values.services }}
{{- if and $service.enabled (ne $name "gateway") }}
WEIR_UPSTREAM_{{ $name | upper | replace "-" "_" }}: http://{{ include "weir.fullname" $root }}-{{ $name }}:{{ include "weir.port.http" $root }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of the services that connect to addresses that users give. */}}
{{- define "weir.settings.outbound" -}}
{{- with .root.Values.outboundAllow }}
WEIR_OUTBOUND_ALLOW: {{ join "," . | quote }}
{{- end }}
{{- end }}

{{- define "weir.settings.auth" -}}
WEIR_AUTH_SIGNING_KEYS_FILE: /etc/weir/auth/signing-keys.pem
WEIR_AUTH_TRUSTED_PROXIES: {{ join "," .service.trustedProxies | quote }}
{{- if .service.bootstrapOperator }}
WEIR_BOOTSTRAP_OPERATOR_KEY_FILE: /etc/weir/auth/operator-key
{{- end }}
{{- include "weir.settings.outbound" . }}
{{- end }}

{{- define "weir.settings.wcs-signalling" -}}
{{- include "weir.settings.outbound" . }}
{{- end }}

{{- define "weir.settings.media" -}}
WEIR_MEDIA_WORKERS: "{{ .service.workers }}"
{{- if eq .service.expose "HostPort" }}
WEIR_MEDIA_PORT: "{{ .service.port }}"
WEIR_RTSP_PORT: "{{ .service.rtspPort }}"
{{- end }}
WEIR_RTSPS_VERIFY: {{ ternary "1" "0" .service.rtsps.verify | quote }}
{{- if .service.rtsps.caSecret }}
WEIR_RTSPS_CA_FILE: /etc/weir/authorities/ca.crt
{{- end }}
{{- with .service.rtpActivity }}
WEIR_MEDIA_RTP_ACTIVITY_AUDIO: {{ ternary "1" "0" .audio | quote }}
WEIR_MEDIA_RTP_ACTIVITY_VIDEO: {{ ternary "1" "0" .video | quote }}
WEIR_MEDIA_RTP_ACTIVITY_AUDIO_EXCLUDE: {{ .audioExclude | quote }}
WEIR_MEDIA_RTP_ACTIVITY_VIDEO_EXCLUDE: {{ .videoExclude | quote }}
{{- end }}
{{- include "weir.settings.outbound" . }}
{{- end }}

{{- define "weir.settings.robot-channel" -}}
{{- with include "weir.publicUrl" .root }}
WEIR_PUBLIC_URL: {{ . | quote }}
{{- end }}
{{- include "weir.settings.outbound" . }}
{{- end }}

{{- define "weir.settings.hls-packager" -}}
{{- with include "weir.publicUrl" .root }}
WEIR_PUBLIC_URL: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "weir.settings.call-broker" -}}
{{- with include "weir.publicUrl" .root }}
WEIR_PUBLIC_URL: {{ . | quote }}
{{- end }}
{{- include "weir.settings.outbound" . }}
{{- end }}

{{- define "weir.settings.recording" -}}
WEIR_RECORDING_DIR: /var/lib/weir/recordings
{{- with .service.s3 }}
{{- if .bucket }}
WEIR_RECORDING_S3_BUCKET: {{ .bucket | quote }}
WEIR_RECORDING_S3_REGION: {{ .region | quote }}
WEIR_RECORDING_S3_PREFIX: {{ .prefix | quote }}
WEIR_RECORDING_S3_PATH_STYLE: {{ ternary "1" "0" .pathStyle | quote }}
{{- with .endpoint }}
WEIR_RECORDING_S3_ENDPOINT: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with include "weir.publicUrl" .root }}
WEIR_PUBLIC_URL: {{ . | quote }}
{{- end }}
{{- include "weir.settings.outbound" . }}
{{- end }}

{{- define "weir.settings.relay-push" -}}
{{- if .service.caSecret }}
WEIR_RELAY_CA_FILE: /etc/weir/authorities/ca.crt
{{- end }}
{{- include "weir.settings.outbound" . }}
{{- end }}
