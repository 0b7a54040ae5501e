import { z } from 'zod';
import type { Manifest } from './helm.js';

// The parts of Kubernetes objects that the tests look at.

const labels = z.record(z.string(), z.string());
const secretKey = z.object({ name: z.string(), key: z.string() });
const env = z.object({
  name: z.string(),
  value: z.string().optional(),
  valueFrom: z
    .object({ secretKeyRef: secretKey.optional(), fieldRef: z.object({ fieldPath: z.string() }).optional() })
    .optional(),
});
const containerPort = z.object({
  name: z.string(),
  containerPort: z.number().int(),
  hostPort: z.number().int().optional(),
  protocol: z.enum(['TCP', 'UDP']).default('TCP'),
});
const probe = z.object({
  httpGet: z.object({ path: z.string(), port: z.string() }).optional(),
  tcpSocket: z.object({ port: z.string() }).optional(),
});
const container = z.object({
  name: z.string(),
  image: z.string(),
  command: z.array(z.string()).optional(),
  args: z.array(z.string()),
  env: z.array(env),
  envFrom: z.array(
    z.object({
      configMapRef: z.object({ name: z.string() }).optional(),
      secretRef: z.object({ name: z.string() }).optional(),
    }),
  ),
  ports: z.array(containerPort),
  startupProbe: probe,
  readinessProbe: probe,
  livenessProbe: probe,
  lifecycle: z.object({ preStop: z.object({ exec: z.object({ command: z.array(z.string()) }) }) }),
  resources: z.object({ requests: labels, limits: labels }),
  securityContext: z.unknown(),
  volumeMounts: z.array(z.object({ name: z.string(), mountPath: z.string(), readOnly: z.boolean().optional() })),
});
const podSpec = z.object({
  serviceAccountName: z.string(),
  automountServiceAccountToken: z.boolean(),
  enableServiceLinks: z.boolean(),
  terminationGracePeriodSeconds: z.number(),
  imagePullSecrets: z.array(z.object({ name: z.string() })).default([]),
  hostNetwork: z.boolean().optional(),
  hostPID: z.boolean().optional(),
  hostIPC: z.boolean().optional(),
  securityContext: z.unknown(),
  initContainers: z.array(z.unknown()).default([]),
  containers: z.array(container).length(1),
  volumes: z.array(
    z.object({
      name: z.string(),
      emptyDir: z.object({ sizeLimit: z.string() }).optional(),
      secret: z.object({ secretName: z.string() }).optional(),
      persistentVolumeClaim: z.object({ claimName: z.string() }).optional(),
    }),
  ),
});
const workload = z.object({
  kind: z.enum(['Deployment', 'StatefulSet']),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    replicas: z.number().int(),
    volumeClaimTemplates: z.array(z.object({ metadata: z.object({ name: z.string() }) })).default([]),
    serviceName: z.string().optional(),
    selector: z.object({ matchLabels: labels }),
    template: z.object({ metadata: z.object({ labels, annotations: labels }), spec: podSpec }),
  }),
});
const service = z.object({
  metadata: z.object({ name: z.string(), labels }),
  spec: z.object({
    type: z.enum(['ClusterIP', 'NodePort', 'LoadBalancer']),
    clusterIP: z.string().optional(),
    externalTrafficPolicy: z.string().optional(),
    publishNotReadyAddresses: z.boolean().optional(),
    selector: labels,
    ports: z.array(
      z.object({
        name: z.string(),
        port: z.number().int(),
        targetPort: z.union([z.string(), z.number().int()]),
        nodePort: z.number().int().optional(),
        protocol: z.enum(['TCP', 'UDP']).default('TCP'),
      }),
    ),
  }),
});
const configMap = z.object({ metadata: z.object({ name: z.string() }), data: labels });
const podSelector = z.object({ matchLabels: labels });
const budget = z.object({ metadata: z.object({ name: z.string() }), spec: z.object({ selector: podSelector }) });
const networkPolicy = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    podSelector,
    policyTypes: z.array(z.string()),
    ingress: z.array(
      z.object({
        ports: z
          .array(
            z.object({
              port: z.union([z.string(), z.number()]).optional(),
              endPort: z.number().optional(),
              protocol: z.string(),
            }),
          )
          .optional(),
        from: z.array(z.record(z.string(), z.unknown())).optional(),
      }),
    ),
  }),
});

export type Labels = z.output<typeof labels>;
export type Workload = z.output<typeof workload>;
export type Container = z.output<typeof container>;
export type Service = z.output<typeof service>;
export type NetworkPolicy = z.output<typeof networkPolicy>;

/** The objects of a rendered chart, by kind. */
export class RenderedChart {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly configMaps: readonly z.output<typeof configMap>[];
  readonly budgets: readonly z.output<typeof budget>[];
  readonly networkPolicies: readonly NetworkPolicy[];

  constructor(readonly manifests: readonly Manifest[]) {
    this.workloads = [...this.ofKind('Deployment'), ...this.ofKind('StatefulSet')].map((it) => workload.parse(it));
    this.services = this.ofKind('Service').map((it) => service.parse(it));
    this.configMaps = this.ofKind('ConfigMap').map((it) => configMap.parse(it));
    this.budgets = this.ofKind('PodDisruptionBudget').map((it) => budget.parse(it));
    this.networkPolicies = this.ofKind('NetworkPolicy').map((it) => networkPolicy.parse(it));
  }

  ofKind(kind: string): Manifest[] {
    return this.manifests.filter((manifest) => manifest.kind === kind);
  }

  /** The workload of one of weir's services. */
  workload(name: string): Workload {
    const found = this.workloads.find((it) => componentOf(it) === name);
    if (found === undefined) throw new Error(`${name} isn't in the rendered chart`);
    return found;
  }

  /** The workloads whose pods a selector matches. */
  selected(selector: Labels): Workload[] {
    return this.workloads.filter((it) => {
      // Kubernetes gives the pods of StatefulSets this label.
      const { 'statefulset.kubernetes.io/pod-name': podName, ...others } = selector;
      const isOfSet = podName === undefined || podNamesOf(it).includes(podName);
      return isOfSet && Object.entries(others).every(([key, value]) => it.spec.template.metadata.labels[key] === value);
    });
  }

  /** A service's variables except secrets, from its ConfigMaps and its own `env`. */
  settings(name: string): Map<string, string> {
    const { env, envFrom } = containerOf(this.workload(name));
    const maps = envFrom.flatMap(({ configMapRef }) =>
      this.configMaps.filter(({ metadata }) => metadata.name === configMapRef?.name),
    );
    return new Map([
      ...maps.flatMap(({ data }) => Object.entries(data)),
      ...env.map(({ name: variable, value = '' }) => [variable, value] as const),
    ]);
  }
}

export const componentOf = ({ spec }: Workload): string =>
  spec.template.metadata.labels['app.kubernetes.io/component'] ?? '';

export const podNamesOf = ({ kind, metadata, spec }: Workload): string[] =>
  kind === 'StatefulSet' ? Array.from({ length: spec.replicas }, (_unused, index) => `${metadata.name}-${index}`) : [];

export function containerOf({ metadata, spec }: Workload): Container {
  const [only] = spec.template.spec.containers;
  if (only === undefined) throw new Error(`${metadata.name} has no container`);
  return only;
}
