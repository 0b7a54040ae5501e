{{/* The pods of a service: metadata and spec. Takes root, name and service. */}}
{{- define "weir.pod" -}}
{{- $root := .root -}}
{{- $name := .name -}}
{{- $service := .service -}}
{{- $values := $root.Values -}}
{{- $needs := fromYaml (include "weir.needs" $root) -}}
metadata:
  labels:
    {{- include "weir.labels" . | nindent 4 }}
  annotations:
    checksum/config: {{ include "weir.settings" . | sha256sum }}
    {{- with $service.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "weir.serviceAccountName" $root }}
  automountServiceAccountToken: false
  # Kubernetes would otherwise set variables such as WEIR_MEDIA_PORT from the names of Services.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "weir.gracePeriodSeconds" $root }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    runAsGroup: 1000
    fsGroup: 1000
    seccompProfile:
      type: RuntimeDefault
  {{- with $service.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $service.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $service.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "weir.selectorLabels" . | nindent 10 }}
  containers:
    - name: {{ $name }}
      image: {{ include "weir.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      {{- if and (eq $name "media") (eq $service.expose "NodePort") }}
      # A media node announces the ports that it listens on, so each node needs its own.
      command: [/usr/bin/tini, --, /bin/sh, -c]
      args:
        - |
          export WEIR_MEDIA_PORT=$(({{ $service.port }} + POD_INDEX * {{ $service.workers }}))
          export WEIR_RTSP_PORT=$(({{ $service.rtspPort }} + POD_INDEX))
          exec weir media
      {{- else }}
      args: [{{ $name }}]
      {{- end }}
      envFrom:
        - configMapRef:
            name: {{ include "weir.fullname" $root }}-{{ $name }}
        {{- range $service.envFromSecrets }}
        - secretRef:
            name: {{ . }}
        {{- end }}
      env:
        - name: NATS_URL
          valueFrom:
            secretKeyRef:
              name: {{ $values.nats.existingSecret }}
              key: {{ $values.nats.key }}
        - name: REDIS_URL
          valueFrom:
            secretKeyRef:
              name: {{ $values.redis.existingSecret }}
              key: {{ $values.redis.key }}
        {{- if has $name $needs.database }}
        - name: DATABASE_URL
          valueFrom:
            secretKeyRef:
              name: {{ $values.database.existingSecret }}
              key: {{ $values.database.key }}
        {{- end }}
        {{- if and $values.turn.enabled (has $name $needs.iceServers) }}
        - name: WEIR_TURN_SECRET
          valueFrom:
            secretKeyRef:
              name: {{ $values.turn.existingSecret }}
              key: {{ $values.turn.key }}
        {{- end }}
        {{- if eq $name "recording" }}
        {{- with $service.webhooks }}
        {{- if .existingSecret }}
        - name: WEIR_WEBHOOK_SECRETS
          valueFrom:
            secretKeyRef:
              name: {{ .existingSecret }}
              key: {{ .key }}
        {{- end }}
        {{- end }}
        {{- if and $service.s3.bucket $service.s3.existingSecret }}
        - name: WEIR_RECORDING_S3_ACCESS_KEY_ID
          valueFrom:
            secretKeyRef:
              name: {{ $service.s3.existingSecret }}
              key: access-key-id
        - name: WEIR_RECORDING_S3_SECRET_ACCESS_KEY
          valueFrom:
            secretKeyRef:
              name: {{ $service.s3.existingSecret }}
              key: secret-access-key
        {{- end }}
        {{- end }}
        {{- if eq $name "media" }}
        {{- include "weir.mediaAddresses" . | nindent 8 }}
        {{- end }}
        {{- with get $needs.rtpAddress $name }}
        - name: {{ . }}
          valueFrom: { fieldRef: { fieldPath: status.podIP } }
        {{- end }}
      ports:
        - name: http
          containerPort: {{ include "weir.port.http" $root }}
        {{- if $values.metrics.enabled }}
        - name: metrics
          containerPort: {{ include "weir.port.metrics" $root }}
        {{- end }}
        {{- if eq $name "gateway" }}
        - name: public
          containerPort: {{ include "weir.port.public" $root }}
        {{- if $service.tls.existingSecret }}
        - name: public-tls
          containerPort: {{ include "weir.port.publicTls" $root }}
        {{- end }}
        {{- end }}
        {{- if and (eq $name "media") (eq $service.expose "HostPort") }}
        {{- include "weir.mediaHostPorts" . | nindent 8 }}
        {{- end }}
      startupProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 90
      readinessProbe:
        httpGet: { path: /healthz, port: http }
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      # Not /healthz, which says 503 while NATS or Redis is away: a restart would end streams that go on without them.
      livenessProbe:
        tcpSocket: { port: http }
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ $values.preStopSeconds | quote }}]
      resources:
        {{- toYaml $service.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if eq $name "recording" }}
        - name: recordings
          mountPath: /var/lib/weir/recordings
        {{- end }}
        {{- if eq $name "auth" }}
        - name: auth
          mountPath: /etc/weir/auth
          readOnly: true
        {{- end }}
        {{- if and (eq $name "gateway") $service.tls.existingSecret }}
        - name: tls
          mountPath: /etc/weir/tls
          readOnly: true
        {{- end }}
        {{- if include "weir.authorities" . }}
        - name: authorities
          mountPath: /etc/weir/authorities
          readOnly: true
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: {{ $values.tmpSizeLimit }}
    {{- if and (eq $name "recording") $service.storage.existingClaim }}
    - name: recordings
      persistentVolumeClaim:
        claimName: {{ $service.storage.existingClaim }}
    {{- end }}
    {{- if eq $name "auth" }}
    - name: auth
      secret:
        secretName: {{ $service.existingSecret }}
        defaultMode: 0440
        items:
          - { key: signing-keys.pem, path: signing-keys.pem }
          {{- if $service.bootstrapOperator }}
          - { key: operator-key, path: operator-key }
          {{- end }}
    {{- end }}
    {{- if and (eq $name "gateway") $service.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ $service.tls.existingSecret }}
        defaultMode: 0440
    {{- end }}
    {{- with include "weir.authorities" . }}
    - name: authorities
      secret:
        secretName: {{ . }}
        defaultMode: 0440
        items:
          - { key: ca.crt, path: ca.crt }
    {{- end }}
{{- end }}

{{/* The Secret with the authorities that vouch for those whom a service connects to. */}}
{{- define "weir.authorities" -}}
{{- if eq .name "media" }}{{ .service.rtsps.caSecret }}{{ end -}}
{{- if eq .name "relay-push" }}{{ .service.caSecret }}{{ end -}}
{{- end }}

{{/* A variable must come before the variables whose values refer to it. */}}
{{- define "weir.mediaAddresses" -}}
- name: HOST_IP
  valueFrom: { fieldRef: { fieldPath: status.hostIP } }
- name: NODE_NAME
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{- if eq .service.expose "NodePort" }}
- name: POD_INDEX
  valueFrom: { fieldRef: { fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" } }
{{- end }}
- name: WEIR_ANNOUNCED_ADDRESS
  value: {{ .service.announcedAddress | quote }}
{{- end }}

{{- define "weir.mediaHostPorts" -}}
{{- range $i := until (int .service.workers) }}
{{- $port := add $.service.port $i }}
- { name: media-udp-{{ $i }}, containerPort: {{ $port }}, hostPort: {{ $port }}, protocol: UDP }
- { name: media-tcp-{{ $i }}, containerPort: {{ $port }}, hostPort: {{ $port }}, protocol: TCP }
{{- end }}
- { name: rtsp, containerPort: {{ .service.rtspPort }}, hostPort: {{ .service.rtspPort }}, protocol: TCP }
{{- end }}
