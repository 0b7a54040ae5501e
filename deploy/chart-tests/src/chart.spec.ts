import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { CHART, CHECKOUT, helm, parseManifests, PROFILES, render, valuesOf } from './helm.js';
import { HELM_VERSIONS } from './install-tools.js';
import { componentOf, containerOf, podNamesOf, RenderedChart, type Workload } from './objects.js';
import { schemaErrors } from './schema-check.js';

/** Variables that Kubernetes sets, or that the chart sets for its own use. */
const NOT_SETTINGS = ['HOST_IP', 'NODE_NAME', 'POD_NAME', 'POD_INDEX'];
const HTTP_PORT = 3000;

const texts = new Map<string, string>();
const charts = new Map<string, RenderedChart>();
beforeAll(async () => {
  await Promise.all(
    PROFILES.map(async (profile) => {
      const text = await render(3, profile);
      texts.set(profile, text);
      charts.set(profile, new RenderedChart(parseManifests(text)));
    }),
  );
});

function chartOf(profile: string): RenderedChart {
  const chart = charts.get(profile);
  if (chart === undefined) throw new Error(`${profile} wasn't rendered`);
  return chart;
}

/** All workloads of all profiles, each with the name that a failed assertion shows. */
const everyWorkload = (): [string, RenderedChart, Workload][] =>
  [...charts].flatMap(([profile, chart]) =>
    chart.workloads.map((workload): [string, RenderedChart, Workload] => [
      `${profile}: ${componentOf(workload)}`,
      chart,
      workload,
    ]),
  );

describe('helm', () => {
  it.for(HELM_VERSIONS)('%i has no objection to any profile', { timeout: 60_000 }, async (version) => {
    for (const profile of PROFILES) {
      const { ok, output } = await helm(version, 'lint', '--strict', CHART, ...valuesOf(profile));
      expect(output, profile).not.toMatch(/WARNING\]|ERROR\]/);
      expect(ok, output).toBe(true);
    }
  });

  it('4 renders the same as 3', { timeout: 60_000 }, async () => {
    for (const profile of PROFILES) expect(await render(4, profile), profile).toBe(texts.get(profile));
  });

  it('packages the chart, without the profiles', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'weir-chart-'));
    try {
      const { ok, output } = await helm(3, 'package', CHART, '-d', folder);
      expect(ok, output).toBe(true);
      const files = execFileSync('tar', ['-tzf', join(folder, 'weir-0.1.0.tgz')], { encoding: 'utf8' }).split('\n');
      expect(files).toContain('weir/values.schema.json');
      expect(files.filter((file) => file.includes('/ci/'))).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('refuses a cluster that is too old', async () => {
    await expect(render(3, 'default', '--kube-version', '1.27.0')).rejects.toThrow(/incompatible/);
    await expect(render(3, 'default', '--kube-version', '1.28.0')).resolves.toContain('kind: StatefulSet');
  });
});

describe('the schemas of Kubernetes', () => {
  it.for(PROFILES)('know every field of the profile "%s"', async (profile) => {
    const { manifests } = chartOf(profile);
    expect(manifests.length).toBeGreaterThan(10);
    for (const manifest of manifests)
      expect(await schemaErrors(manifest), `${manifest.kind} ${manifest.metadata.name}`).toEqual([]);
  });

  it('refuse a missing field, a field of a wrong type, a misspelt field and an unknown kind', async () => {
    const service = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'x' } };
    const route = { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', metadata: { name: 'x' } };
    expect(await schemaErrors({ ...service, spec: { ports: [{ port: 80 }] } })).toEqual([]);
    expect(await schemaErrors({ ...service, spec: { ports: [{}] } })).toHaveLength(1);
    expect(await schemaErrors({ ...service, spec: { ports: [{ port: 'http' }] } })).not.toEqual([]);
    expect(await schemaErrors({ ...service, spec: { port: [] } })).toEqual(['/spec/port: unknown field']);
    expect(await schemaErrors({ ...service, specs: {} })).toEqual(['/specs: unknown field']);
    expect(await schemaErrors({ ...route, spec: { rules: [{ timeout: {} }] } })).toEqual([
      '/spec/rules/0/timeout: unknown field',
    ]);
    expect(await schemaErrors({ ...service, kind: 'Servise' })).toEqual(['there is no schema for v1 Servise']);
    expect(await schemaErrors({ ...service, apiVersion: 'example.com/v1' })).toEqual([
      'there is no schema for example.com/v1 Service',
    ]);
  });
});

describe('objects', () => {
  it('have different names', () => {
    for (const [profile, { manifests }] of charts) {
      const names = manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
      expect(names, profile).toEqual([...new Set(names)]);
    }
  });

  it('select the pods of exactly one service', () => {
    for (const [profile, chart] of charts) {
      const selectors = [
        ...chart.workloads.map(({ metadata, spec }) => [metadata.name, spec.selector.matchLabels] as const),
        ...chart.services.map(({ metadata, spec }) => [metadata.name, spec.selector] as const),
        ...chart.budgets.map(({ metadata, spec }) => [metadata.name, spec.selector.matchLabels] as const),
        ...chart.networkPolicies.map(({ metadata, spec }) => [metadata.name, spec.podSelector.matchLabels] as const),
      ];
      for (const [name, selector] of selectors) expect(chart.selected(selector), `${profile}: ${name}`).toHaveLength(1);
    }
  });

  it('refer only to ConfigMaps that the chart creates, and only to Secrets that the values name', () => {
    for (const [name, chart, workload] of everyWorkload()) {
      const { env, envFrom } = containerOf(workload);
      const { volumes, imagePullSecrets } = workload.spec.template.spec;
      const maps = envFrom.flatMap(({ configMapRef }) => configMapRef?.name ?? []);
      expect(
        chart.configMaps.map(({ metadata }) => metadata.name),
        name,
      ).toEqual(expect.arrayContaining(maps));
      const secrets = [
        ...env.flatMap(({ valueFrom }) => valueFrom?.secretKeyRef?.name ?? []),
        ...envFrom.flatMap(({ secretRef }) => secretRef?.name ?? []),
        ...volumes.flatMap(({ secret }) => secret?.secretName ?? []),
        ...imagePullSecrets.map((secret) => secret.name),
      ];
      const ofServers = ['weir-nats', 'weir-redis', 'weir-database'];
      const ofProfiles = ['weir-auth', 'video-tls', 'camera-authorities', 'relay-authorities', 'wcs-hooks', 'registry'];
      const ofRecording = ['recording-webhooks', 'recording-storage'];
      const named = [...ofServers, ...ofProfiles, ...ofRecording];
      expect(named, name).toEqual(expect.arrayContaining(secrets));
    }
  });

  it('contain no secrets: the chart creates none, and takes connections from existing ones', () => {
    for (const [profile, chart] of charts) {
      expect(chart.ofKind('Secret'), profile).toEqual([]);
      expect(texts.get(profile)).not.toMatch(/:\/\/[^/\s]*:[^/\s]*@/);
    }
    for (const [name, , workload] of everyWorkload()) {
      const { env } = containerOf(workload);
      const urls = env.filter((variable) => /^(NATS|REDIS|DATABASE)_URL$/.test(variable.name));
      expect(urls.length, name).toBeGreaterThanOrEqual(2);
      for (const url of urls) expect(url.valueFrom?.secretKeyRef, `${name}: ${url.name}`).toBeDefined();
    }
  });
});

describe('ports', () => {
  it('of Services lead to ports of the containers', () => {
    for (const [profile, chart] of charts)
      for (const { metadata, spec } of chart.services) {
        const [workload] = chart.selected(spec.selector);
        if (workload === undefined) throw new Error(metadata.name);
        const containerPorts = containerOf(workload).ports;
        for (const { name, targetPort, protocol } of spec.ports)
          if (typeof targetPort === 'string')
            expect(
              containerPorts.filter((port) => port.name === targetPort && port.protocol === protocol),
              `${profile}: ${metadata.name}: ${name}`,
            ).toHaveLength(1);
      }
  });

  it('of containers are those in the settings', () => {
    for (const [name, chart, workload] of everyWorkload()) {
      const settings = chart.settings(componentOf(workload));
      const numbers = new Map(containerOf(workload).ports.map((port) => [port.name, String(port.containerPort)]));
      expect(numbers.get('http'), name).toBe(settings.get('WEIR_LISTEN_PORT'));
      expect(settings.get('WEIR_LISTEN_HOST'), name).toBe('0.0.0.0');
      expect(numbers.get('metrics'), name).toBe(settings.get('OTEL_EXPORTER_PROMETHEUS_PORT'));
      expect(numbers.get('public'), name).toBe(settings.get('WEIR_HTTP_PORT'));
      if (numbers.has('public-tls')) expect(numbers.get('public-tls'), name).toBe(settings.get('WEIR_HTTPS_PORT'));
      expect(settings.has('WEIR_TLS_CERT'), name).toBe(numbers.has('public-tls'));
    }
  });

  it('in the gateway’s settings are those of the services, and include every enabled service', () => {
    for (const [profile, chart] of charts) {
      const upstreams = [...chart.settings('gateway')].filter(([name]) => name.startsWith('WEIR_UPSTREAM_'));
      const found = upstreams.map(([name, text]) => {
        const url = new URL(text);
        const service = chart.services.find(({ metadata }) => metadata.name === url.hostname);
        expect(service?.spec.ports.find(({ port }) => String(port) === url.port)?.targetPort, text).toBe('http');
        const [workload] = chart.selected(service?.spec.selector ?? {});
        const component = workload === undefined ? '' : componentOf(workload);
        expect(name).toBe(`WEIR_UPSTREAM_${component.toUpperCase().replaceAll('-', '_')}`);
        return component;
      });
      expect([...found, 'gateway'].sort(), profile).toEqual(chart.workloads.map(componentOf).sort());
    }
  });

  it('of media nodes behind node ports are those that each node listens on and announces', () => {
    const chart = chartOf('gateway-api');
    const media = chart.workload('media');
    const { env, command, args } = containerOf(media);
    expect(command).toEqual(['/usr/bin/tini', '--', '/bin/sh', '-c']);
    expect(args).toEqual([
      'export WEIR_MEDIA_PORT=$((30400 + POD_INDEX * 2))\n' +
        'export WEIR_RTSP_PORT=$((30554 + POD_INDEX))\nexec weir media\n',
    ]);
    expect(env).toContainEqual({
      name: 'POD_INDEX',
      valueFrom: { fieldRef: { fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']" } },
    });
    expect(chart.settings('media').get('WEIR_MEDIA_WORKERS')).toBe('2');
    expect(podNamesOf(media)).toEqual(['weir-media-0', 'weir-media-1', 'weir-media-2']);
    const nodePortServices = chart.services.filter(({ spec }) => spec.type === 'NodePort');
    expect(nodePortServices.map(({ spec }) => spec.selector['statefulset.kubernetes.io/pod-name'])).toEqual(
      podNamesOf(media),
    );
    nodePortServices.forEach(({ spec }, node) => {
      expect(spec).toMatchObject({ externalTrafficPolicy: 'Local', publishNotReadyAddresses: true });
      const [first, second] = [30400 + node * 2, 30401 + node * 2];
      const port = (number: number) => ({ port: number, targetPort: number, nodePort: number });
      expect(spec.ports).toEqual([
        { name: 'udp-0', protocol: 'UDP', ...port(first) },
        { name: 'tcp-0', protocol: 'TCP', ...port(first) },
        { name: 'udp-1', protocol: 'UDP', ...port(second) },
        { name: 'tcp-1', protocol: 'TCP', ...port(second) },
        { name: 'rtsp', protocol: 'TCP', ...port(30554 + node) },
      ]);
    });
  });

  it('of media nodes with host ports are one for each worker and protocol, and one for RTSP', () => {
    const chart = chartOf('host-port');
    const settings = chart.settings('media');
    expect(settings.get('WEIR_MEDIA_PORT')).toBe('40000');
    expect(settings.get('WEIR_MEDIA_WORKERS')).toBe('4');
    expect(settings.get('WEIR_RTSP_PORT')).toBe('8554');
    expect(settings.get('WEIR_ANNOUNCED_ADDRESS')).toBe('$(NODE_NAME).media.example.com');
    const { ports, args } = containerOf(chart.workload('media'));
    expect(args).toEqual(['media']);
    const hostPorts = ports.filter(({ hostPort }) => hostPort !== undefined);
    expect(hostPorts.every(({ containerPort, hostPort }) => containerPort === hostPort)).toBe(true);
    expect(hostPorts.map(({ protocol, hostPort }) => `${protocol} ${hostPort}`)).toEqual([
      ...[40000, 40001, 40002, 40003].flatMap((port) => [`UDP ${port}`, `TCP ${port}`]),
      'TCP 8554',
    ]);
    expect(chart.services.filter(({ spec }) => spec.type === 'NodePort')).toEqual([]);
  });

  it('are opened by the network policies: gateway and media to clients, all others to the gateway only', () => {
    const chart = chartOf('default');
    for (const { spec } of chart.networkPolicies) {
      const [workload] = chart.selected(spec.podSelector.matchLabels);
      const component = workload === undefined ? '' : componentOf(workload);
      expect(spec.policyTypes).toEqual(['Ingress']);
      const toEverybody = spec.ingress.filter(({ from }) => from === undefined);
      expect(toEverybody.length > 0, component).toBe(['gateway', 'media'].includes(component));
      const http = spec.ingress.filter(({ ports }) => ports?.some(({ port }) => port === 'http'));
      const callers = http.flatMap(({ from = [] }) => from);
      if (component === 'gateway') expect(callers).toEqual([]);
      else
        expect(callers, component).toEqual([
          { podSelector: { matchLabels: chart.workload('gateway').spec.selector.matchLabels } },
        ]);
    }
    const rtp = chart.networkPolicies.filter(({ spec }) =>
      spec.ingress.some(({ ports, from = [] }) => from.length > 0 && ports?.some(({ protocol }) => protocol === 'UDP')),
    );
    expect(rtp.map(({ metadata }) => metadata.name).sort()).toEqual([
      'weir-hls-packager',
      'weir-media',
      'weir-recording',
      'weir-relay-push',
    ]);
    const media = chart.networkPolicies.find(({ metadata }) => metadata.name === 'weir-media');
    expect(media?.spec.ingress.find(({ from }) => from === undefined)?.ports).toEqual([
      { port: 30400, endPort: 30401, protocol: 'UDP' },
      { port: 30400, endPort: 30401, protocol: 'TCP' },
      { port: 30554, endPort: 30554, protocol: 'TCP' },
    ]);
  });

  it('are reached from outside by an Ingress and by an HTTPRoute', () => {
    const [ingress] = chartOf('ingress').ofKind('Ingress');
    expect(ingress?.['spec']).toEqual({
      ingressClassName: 'nginx',
      tls: [{ hosts: ['weir.example.com'], secretName: 'weir-example-com-tls' }],
      rules: [
        {
          host: 'weir.example.com',
          http: {
            paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'weir', port: { name: 'http' } } } }],
          },
        },
      ],
    });
    const [route] = chartOf('gateway-api').ofKind('HTTPRoute');
    expect(route?.['spec']).toEqual({
      parentRefs: [{ name: 'public', namespace: 'gateways', sectionName: 'https' }],
      hostnames: ['weir.example.com'],
      rules: [{ backendRefs: [{ name: 'weir', port: 80 }], timeouts: { request: '0s' } }],
    });
    for (const profile of ['ingress', 'gateway-api']) {
      const service = chartOf(profile).services.find(({ metadata }) => metadata.name === 'weir');
      expect(service?.spec.ports).toEqual([{ name: 'http', port: 80, targetPort: 'public', protocol: 'TCP' }]);
    }
  });

  it('with metrics are announced to the Prometheus operator', () => {
    const chart = chartOf('ingress');
    const [monitor] = chart.ofKind('ServiceMonitor');
    const spec = monitor?.['spec'];
    expect(spec).toMatchObject({ endpoints: [{ port: 'metrics', interval: '30s' }] });
    const wanted = { 'app.kubernetes.io/name': 'weir', 'app.kubernetes.io/instance': 'weir', 'weir/reach': 'platform' };
    expect(spec).toMatchObject({ selector: { matchLabels: wanted } });
    const monitored = chart.services.filter(({ metadata }) =>
      Object.entries(wanted).every(([key, value]) => metadata.labels[key] === value),
    );
    expect(
      monitored
        .flatMap(({ spec: { selector } }) => chart.selected(selector))
        .map(componentOf)
        .sort(),
    ).toEqual(chart.workloads.map(componentOf).sort());
    for (const service of monitored) expect(service.spec.ports.map(({ name }) => name)).toContain('metrics');
  });
});

describe('pods', () => {
  it('meet the Pod Security Standard "restricted", except for host ports in the profile that asks for them', () => {
    for (const [name, , workload] of everyWorkload()) {
      const { spec } = workload.spec.template;
      expect(spec.securityContext, name).toEqual({
        runAsNonRoot: true,
        runAsUser: 1000,
        runAsGroup: 1000,
        fsGroup: 1000,
        seccompProfile: { type: 'RuntimeDefault' },
      });
      const container = containerOf(workload);
      expect(container.securityContext, name).toEqual({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
      expect([spec.hostNetwork, spec.hostPID, spec.hostIPC, spec.initContainers], name).toEqual([
        undefined,
        undefined,
        undefined,
        [],
      ]);
      const hasHostPorts = container.ports.some(({ hostPort }) => hostPort !== undefined);
      expect(hasHostPorts, name).toBe(name === 'host-port: media');
      for (const volume of spec.volumes)
        expect(
          [volume.emptyDir, volume.secret, volume.persistentVolumeClaim].filter((it) => it !== undefined),
          name,
        ).toHaveLength(1);
    }
  });

  it('have a writable /tmp of limited size, and mount each of their volumes', () => {
    for (const [name, , workload] of everyWorkload()) {
      const { volumes } = workload.spec.template.spec;
      const claims = workload.spec.volumeClaimTemplates.map(({ metadata }) => metadata.name);
      const { volumeMounts } = containerOf(workload);
      const named = [...volumes.map((it) => it.name), ...claims];
      expect(volumeMounts.map((mount) => mount.name).sort(), name).toEqual(named.sort());
      const tmp = volumeMounts.find(({ mountPath }) => mountPath === '/tmp');
      expect(volumes.find((volume) => volume.name === tmp?.name)?.emptyDir?.sizeLimit, name).toBe('256Mi');
      const written = (mount: string): boolean => mount === 'tmp' || mount === 'recordings';
      for (const mount of volumeMounts) expect(mount.readOnly === true, name).toBe(!written(mount.name));
    }
  });

  it('of the recorder have a volume of their own, or share one where told so', () => {
    const recorder = (profile: string) => {
      const { kind, spec } = chartOf(profile).workload('recording');
      const { volumes } = spec.template.spec;
      const claim = volumes.find(({ persistentVolumeClaim }) => persistentVolumeClaim)?.persistentVolumeClaim;
      return [kind, spec.replicas, claim?.claimName, spec.volumeClaimTemplates.map(({ metadata }) => metadata.name)];
    };
    expect(recorder('default')).toEqual(['StatefulSet', 1, undefined, ['recordings']]);
    expect(recorder('host-port')).toEqual(['StatefulSet', 2, 'recordings', []]);
    const mount = containerOf(chartOf('default').workload('recording')).volumeMounts.find(
      ({ name }) => name === 'recordings',
    );
    expect(chartOf('default').settings('recording').get('WEIR_RECORDING_DIR')).toBe(mount?.mountPath);
  });

  it('have no rights in the cluster, and get no variables made from the names of Services', () => {
    for (const [name, , workload] of everyWorkload()) {
      expect(workload.spec.template.spec.automountServiceAccountToken, name).toBe(false);
      expect(workload.spec.template.spec.enableServiceLinks, name).toBe(false);
    }
  });

  it('get more time to end than pausing, draining and giving up take together', () => {
    for (const [name, chart, workload] of everyWorkload()) {
      const { lifecycle } = containerOf(workload);
      const [program, pause] = lifecycle.preStop.exec.command;
      expect(program, name).toBe('sleep');
      const drainMs = Number(chart.settings(componentOf(workload)).get('WEIR_DRAIN_TIMEOUT_MS'));
      expect(drainMs, name).toBeGreaterThan(0);
      const giveUpSeconds = drainMs / 1_000 + 5;
      expect(workload.spec.template.spec.terminationGracePeriodSeconds, name).toBeGreaterThan(
        Number(pause) + giveUpSeconds,
      );
    }
    expect(chartOf('host-port').settings('gateway').get('WEIR_DRAIN_TIMEOUT_MS')).toBe('60000');
  });

  it('count as started and ready by /healthz, and are restarted only if their port is closed', () => {
    for (const [name, , workload] of everyWorkload()) {
      const { startupProbe, readinessProbe, livenessProbe, ports } = containerOf(workload);
      expect(startupProbe, name).toEqual({ httpGet: { path: '/healthz', port: 'http' } });
      expect(readinessProbe, name).toEqual({ httpGet: { path: '/healthz', port: 'http' } });
      expect(livenessProbe, name).toEqual({ tcpSocket: { port: 'http' } });
      expect(ports.find((port) => port.name === 'http')?.containerPort, name).toBe(HTTP_PORT);
    }
  });

  it('request memory and CPU, and have a memory limit', () => {
    for (const [name, , workload] of everyWorkload()) {
      const { requests, limits } = containerOf(workload).resources;
      expect(Object.keys(requests).sort(), name).toEqual(['cpu', 'memory']);
      expect(Object.keys(limits), name).toEqual(['memory']);
    }
  });

  it('run one image, by its digest if there is one', () => {
    for (const [name, , workload] of everyWorkload())
      expect(containerOf(workload).image, name).toBe(
        name.startsWith('ingress:') ? `registry.example.com/weir@sha256:${'0123456789abcdef'.repeat(4)}` : 'weir:0.1.0',
      );
  });

  it('run as the user and with the entry point of the image', () => {
    const lines = readFileSync(join(CHECKOUT, 'deploy/images/Dockerfile'), 'utf8').split('\n');
    expect(lines).toContain('USER 1000:1000');
    expect(lines).toContain('ENTRYPOINT ["/usr/bin/tini", "--", "weir"]');
  });

  it('are replaced when one of their settings changes, and only then', async () => {
    const change = ['--set-string', 'services.wcs-signalling.settings.WEIR_WCS_MAX_SESSIONS=7'];
    const changed = new RenderedChart(parseManifests(await render(3, 'default', ...change)));
    const checksums = (chart: RenderedChart) =>
      new Map(chart.workloads.map((it) => [componentOf(it), it.spec.template.metadata.annotations['checksum/config']]));
    const before = checksums(chartOf('default'));
    const after = checksums(changed);
    expect(before.get('media')).toMatch(/^[0-9a-f]{64}$/);
    expect([...before.keys()].filter((name) => before.get(name) !== after.get(name))).toEqual(['wcs-signalling']);
    expect(changed.settings('wcs-signalling').get('WEIR_WCS_MAX_SESSIONS')).toBe('7');
  });

  it('can be evicted one at a time', () => {
    const chart = chartOf('default');
    const specs = new Map(chart.ofKind('PodDisruptionBudget').map((it) => [it.metadata.name, it['spec']]));
    expect(specs.size).toBe(chart.workloads.length);
    for (const { metadata, spec } of chart.workloads)
      expect(specs.get(metadata.name)).toEqual({
        maxUnavailable: 1,
        selector: { matchLabels: spec.selector.matchLabels },
      });
    expect(chartOf('gateway-api').budgets).toEqual([]);
  });
});

describe('settings', () => {
  /** The names of the settings that a service reads, taken from its source because a service is never imported. */
  function settingsOf(service: string): Set<string> {
    const files = [
      join(CHECKOUT, 'libs/platform/src/settings.ts'),
      join(CHECKOUT, 'libs/outbound/src/settings.ts'),
      join(CHECKOUT, 'services', service, 'src/settings.ts'),
      ...(service === 'recording' ? [join(CHECKOUT, 'services/recording/src/upload-settings.ts')] : []),
    ];
    const names = files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/^ {2}([A-Z][A-Z0-9_]+):/gm)]);
    return new Set(names.map(([, name = '']) => name));
  }

  it('that the chart sets are known to the services that get them', () => {
    for (const [name, chart, workload] of everyWorkload()) {
      const known = settingsOf(componentOf(workload));
      const given = [...chart.settings(componentOf(workload)).keys()]
        .filter((variable) => !variable.startsWith('OTEL_') && !NOT_SETTINGS.includes(variable))
        .filter((variable) => !known.has(variable));
      expect(given, name).toEqual([]);
    }
  });

  it('that a service needs and that have no default are set', () => {
    const auth = chartOf('default').settings('auth');
    expect([...auth.keys()]).toEqual(expect.arrayContaining(['DATABASE_URL', 'WEIR_AUTH_SIGNING_KEYS_FILE']));
    const { volumeMounts } = containerOf(chartOf('default').workload('auth'));
    const mount = volumeMounts.find(({ name }) => name === 'auth');
    for (const file of ['WEIR_AUTH_SIGNING_KEYS_FILE', 'WEIR_BOOTSTRAP_OPERATOR_KEY_FILE'])
      expect(auth.get(file)?.startsWith(`${mount?.mountPath}/`), file).toBe(true);
    expect(chartOf('gateway-api').settings('auth').has('WEIR_BOOTSTRAP_OPERATOR_KEY_FILE')).toBe(false);
  });

  it('give each service that receives RTP its address, and those that publish URLs the public URL', () => {
    const addressed = chartOf('default').workloads.flatMap((workload) => {
      const found = containerOf(workload).env.find((it) => it.valueFrom?.fieldRef?.fieldPath === 'status.podIP');
      return found === undefined ? [] : [[componentOf(workload), found.name]];
    });
    expect(Object.fromEntries(addressed)).toEqual({
      media: 'WEIR_MEDIA_INTERNAL_ADDRESS',
      'hls-packager': 'WEIR_HLS_RTP_ADDRESS',
      'relay-push': 'WEIR_RELAY_RTP_ADDRESS',
      recording: 'WEIR_RECORDING_RTP_ADDRESS',
    });
    const urls = ['ingress', 'gateway-api', 'host-port', 'default'].map((profile) =>
      ['robot-channel', 'hls-packager'].map((name) => chartOf(profile).settings(name).get('WEIR_PUBLIC_URL')),
    );
    expect(urls).toEqual([
      ['https://weir.example.com', 'https://weir.example.com'],
      ['https://weir.example.com', 'https://weir.example.com'],
      ['https://video.example.com', 'https://video.example.com'],
      [undefined, undefined],
    ]);
  });

  it('let services call private addresses, cameras and servers with certificates of their own, where told so', () => {
    const allowed = (profile: string) =>
      chartOf(profile).workloads.flatMap((workload) => {
        const allow = chartOf(profile).settings(componentOf(workload)).get('WEIR_OUTBOUND_ALLOW');
        return allow === undefined ? [] : [[componentOf(workload), allow]];
      });
    const callers = ['auth', 'call-broker', 'media', 'recording', 'relay-push', 'robot-channel', 'wcs-signalling'];
    expect(Object.fromEntries(allowed('host-port'))).toEqual(
      Object.fromEntries(callers.map((name) => [name, '10.20.0.0/16,camera.internal'])),
    );
    expect(allowed('default')).toEqual([]);
    const chart = chartOf('host-port');
    for (const [service, setting, secretName] of [
      ['media', 'WEIR_RTSPS_CA_FILE', 'camera-authorities'],
      ['relay-push', 'WEIR_RELAY_CA_FILE', 'relay-authorities'],
    ] as const) {
      const workload = chart.workload(service);
      const volume = workload.spec.template.spec.volumes.find(({ secret }) => secret?.secretName === secretName);
      const mount = containerOf(workload).volumeMounts.find(({ name }) => name === volume?.name);
      expect(chart.settings(service).get(setting)).toBe(`${mount?.mountPath}/ca.crt`);
      expect(chartOf('default').settings(service).has(setting)).toBe(false);
    }
    expect(chart.settings('media').get('WEIR_RTSPS_VERIFY')).toBe('1');
    expect(chartOf('default').settings('media').get('WEIR_RTSPS_VERIFY')).toBe('0');
  });

  it('of the recorder name its storage, and take its secrets from Secrets of the operator', () => {
    const variables = (profile: string) =>
      containerOf(chartOf(profile).workload('recording')).env.filter(({ name }) => /S3|WEBHOOK/.test(name));
    expect(variables('host-port')).toEqual(
      [
        ['WEIR_WEBHOOK_SECRETS', 'recording-webhooks', 'webhook-secrets'],
        ['WEIR_RECORDING_S3_ACCESS_KEY_ID', 'recording-storage', 'access-key-id'],
        ['WEIR_RECORDING_S3_SECRET_ACCESS_KEY', 'recording-storage', 'secret-access-key'],
      ].map(([name, secret, key]) => ({ name, valueFrom: { secretKeyRef: { name: secret, key } } })),
    );
    expect(variables('default')).toEqual([]);
    const settings = chartOf('host-port').settings('recording');
    const s3 = [...settings].filter(([name]) => name.startsWith('WEIR_RECORDING_S3_') && !name.includes('ACCESS_KEY'));
    expect(Object.fromEntries(s3)).toEqual({
      ...{ WEIR_RECORDING_S3_BUCKET: 'recordings', WEIR_RECORDING_S3_REGION: 'us-east-1' },
      ...{ WEIR_RECORDING_S3_PREFIX: '', WEIR_RECORDING_S3_PATH_STYLE: '1' },
      WEIR_RECORDING_S3_ENDPOINT: 'https://storage.internal:9000',
    });
    expect([...chartOf('default').settings('recording').keys()].filter((name) => name.includes('S3'))).toEqual([]);
  });

  it('say by which names the gateway is addressed, and which publishers may be silent', () => {
    expect(chartOf('host-port').settings('gateway').get('WEIR_ALLOWED_HOSTS')).toBe('video.example.com,local');
    expect(chartOf('default').settings('gateway').get('WEIR_ALLOWED_HOSTS')).toBe('*');
    const activity = (profile: string) =>
      ['AUDIO', 'VIDEO', 'AUDIO_EXCLUDE', 'VIDEO_EXCLUDE'].map((name) =>
        chartOf(profile).settings('media').get(`WEIR_MEDIA_RTP_ACTIVITY_${name}`),
      );
    expect(activity('host-port')).toEqual(['0', '1', '', 'slides-.*']);
    expect(activity('default')).toEqual(['1', '1', '', '']);
  });

  it('of a service override those that all services share', () => {
    expect(chartOf('host-port').settings('relay-push').get('LOG_LEVEL')).toBe('debug');
    expect(chartOf('host-port').settings('media').get('LOG_LEVEL')).toBe('info');
  });

  it('never turn on the single-machine mode, whose defaults are open to all', () => {
    for (const [name, chart, workload] of everyWorkload())
      expect(chart.settings(componentOf(workload)).has('WEIR_SINGLE_MACHINE'), name).toBe(false);
  });
});

describe('TURN', () => {
  const withTurn = async (...args: string[]) =>
    parseManifests(
      await render(
        3,
        'default',
        ...['--set', 'turn.enabled=true', '--set', 'turn.urls={turn:turn.example.com:3478?transport=udp}'],
        ...['--set', 'turn.allowedPeers={10.0.0.4-10.0.0.9}', ...args],
      ),
    ).filter(({ metadata }) => ['weir-turn', 'weir-recording', 'weir-call-broker'].includes(metadata.name));
  const ofKind = (manifests: Awaited<ReturnType<typeof withTurn>>, kind: string, name = 'weir-turn') =>
    manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);

  it('is not rendered unless it is asked for, and never without the addresses that it may reach', async () => {
    expect(texts.get('default')).not.toMatch(/weir-turn|WEIR_TURN/);
    await expect(withTurn('--set', 'turn.allowedPeers=null')).rejects.toThrow(/allowedPeers/);
  });

  it('relays to the given addresses, and by the network policy to the ports of media only', async () => {
    const manifests = await withTurn();
    for (const manifest of manifests) expect(await schemaErrors(manifest), manifest.kind).toEqual([]);
    const { data } = ofKind(manifests, 'ConfigMap') as unknown as { data: { 'turnserver.conf': string } };
    const lines = data['turnserver.conf'].split('\n');
    expect(lines.filter((line) => line.includes('peer-ip'))).toEqual([
      'denied-peer-ip=0.0.0.0-255.255.255.255',
      'denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
      'allowed-peer-ip=10.0.0.4-10.0.0.9',
    ]);
    expect(lines).toEqual(expect.arrayContaining(['use-auth-secret', 'no-tcp-relay', 'no-multicast-peers']));
    expect(ofKind(manifests, 'NetworkPolicy')).toMatchObject({
      spec: {
        policyTypes: ['Ingress', 'Egress'],
        egress: [{ ports: [{ port: 30400, endPort: 30401, protocol: 'UDP' }] }],
      },
    });
  });

  it('shares its secret with the services that name it to clients, by a Secret of the operator', async () => {
    const manifests = await withTurn('--set', 'turn.tls.existingSecret=turn-tls');
    const secretKeyRef = { name: 'weir-turn', key: 'secret' };
    const containers = (env: object) => ({
      spec: { template: { spec: { containers: [{ env: expect.arrayContaining([env]) as unknown }] } } },
    });
    expect(ofKind(manifests, 'Deployment')).toMatchObject(
      containers({ name: 'TURN_SECRET', valueFrom: { secretKeyRef } }),
    );
    expect(ofKind(manifests, 'StatefulSet', 'weir-recording')).toMatchObject(
      containers({ name: 'WEIR_TURN_SECRET', valueFrom: { secretKeyRef } }),
    );
    expect(ofKind(manifests, 'Deployment', 'weir-call-broker')).toMatchObject(
      containers({ name: 'WEIR_TURN_SECRET', valueFrom: { secretKeyRef } }),
    );
    for (const service of ['weir-recording', 'weir-call-broker'])
      expect(ofKind(manifests, 'ConfigMap', service)).toMatchObject({
        data: { WEIR_TURN_URLS: 'turn:turn.example.com:3478?transport=udp' },
      });
    expect(ofKind(manifests, 'Service')).toMatchObject({
      spec: {
        ports: [
          { port: 3478, protocol: 'UDP' },
          { port: 3478, protocol: 'TCP' },
          { port: 443, protocol: 'TCP' },
        ],
      },
    });
  });
});

describe('values', () => {
  const REFUSED: [string, string[], RegExp][] = [
    ['an unknown value', ['--set', 'replicaCount=3'], /replicaCount/],
    ['a misspelt value of a service', ['--set', 'services.media.worker=3'], /worker/],
    ['an unknown service', ['--set', 'services.chat.enabled=true'], /chat/],
    ['a number instead of a text', ['--set', 'services.media.settings.WEIR_MEDIA_MAX_SESSIONS=5'], /string/],
    ['a password among the settings', ['--set-string', 'services.auth.settings.SMTP_PASSWORD=x'], /SMTP_PASSWORD/],
    ['a connection among the settings', ['--set', 'services.auth.settings.DATABASE_URL=x'], /DATABASE_URL/],
    ["the operator's key among the settings", ['--set', 'services.auth.settings.WEIR_BOOTSTRAP_OPERATOR_KEY=x'], /KEY/],
    ['a setting that the chart itself sets', ['--set-string', 'services.auth.settings.WEIR_LISTEN_PORT=1'], /LISTEN/],
    ['the single machine', ['--set-string', 'services.auth.settings.WEIR_SINGLE_MACHINE=1'], /SINGLE_MACHINE/],
    ['an image tag instead of a digest', ['--set', 'image.digest=latest'], /digest/],
    ['no secret for NATS', ['--set', 'nats.existingSecret='], /existingSecret/],
    ['no memory limit', ['--set', 'services.auth.resources.limits=null'], /limits/],
    ['node ports outside the range of node ports', ['--set', 'services.media.port=40000'], /port/],
    ['more media nodes than fit before the RTSP ports', ['--set', 'services.media.replicas=1200'], /overlap/],
    [
      'node ports that end outside the range',
      ['--set', 'services.media.rtspPort=32767,services.media.replicas=2'],
      /32767/,
    ],
    ['media and RTSP ports that overlap', ['--set', 'services.media.rtspPort=30401'], /overlap/],
    ['authorities of cameras that nobody checks', ['--set', 'services.media.rtsps.caSecret=ca'], /verify/],
    ['an Ingress without hosts', ['--set', 'ingress.enabled=true'], /hosts/],
    ['an HTTPRoute without a Gateway', ['--set', 'httpRoute.enabled=true'], /parentRefs/],
    [
      'an Ingress that leads nowhere',
      ['--set', 'ingress.enabled=true,ingress.hosts={a.example},services.gateway.enabled=false'],
      /gateway/,
    ],
    ['two packagers, which serve only what they package', ['--set', 'services.hls-packager.replicas=2'], /replicas/],
    ['several recorders without a volume that they share', ['--set', 'services.recording.replicas=2'], /existingClaim/],
    ['no time to drain', ['--set', 'drainSeconds=0'], /drainSeconds/],
  ];

  it.for(REFUSED)('refuse %s', async ([, args, reason]) => {
    for (const version of HELM_VERSIONS) await expect(render(version, 'default', ...args)).rejects.toThrow(reason);
  });

  it('all have a description', () => {
    const { properties } = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
    const undescribed = (schema: unknown, path: string): string[] => {
      if (typeof schema !== 'object' || schema === null || '$ref' in schema) return [];
      const nested =
        'properties' in schema && path.split('.').length < 4 ? Object.entries(schema.properties ?? {}) : [];
      return [
        ...('description' in schema ? [] : [path]),
        ...nested.flatMap(([name, value]) => undescribed(value, `${path}.${name}`)),
      ];
    };
    const found = Object.entries(properties).flatMap(([name, schema]) => undescribed(schema, name));
    expect(found.filter((path) => !/\.resources\.|^imagePullSecrets/.test(path))).toEqual([]);
  });

  it('are all in the table of the README', () => {
    const readme = readFileSync(join(CHART, 'README.md'), 'utf8');
    const schema: unknown = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));
    const names = (value: unknown): string[] => {
      if (typeof value !== 'object' || value === null || !('properties' in value)) return [];
      return Object.entries(value.properties ?? {}).flatMap(([name, child]) => [name, ...names(child)]);
    };
    const table = readme.split('\n').filter((line) => line.startsWith('|'));
    const told = new Set(table.join().match(/[\w-]+/g));
    const ofLists = ['requests', 'limits', 'global'];
    expect(names(schema).filter((name) => !told.has(name) && !ofLists.includes(name))).toEqual([]);
  });

  it('contain a service for each folder in services', () => {
    const folders = readdirSync(join(CHECKOUT, 'services'));
    const known = [...chartOf('default').workloads.map(componentOf)];
    expect(folders.filter((name) => !known.includes(name))).toEqual([]);
  });
});
