// node --import @weir/platform/register dist/main.js: telemetry, configured only by the standard OTEL_* variables.
// Nothing is exported unless they ask for it: OTEL_EXPORTER_OTLP_ENDPOINT turns on traces and metrics,
// OTEL_METRICS_EXPORTER=prometheus turns on metrics (port OTEL_EXPORTER_PROMETHEUS_PORT). No module is patched, which
// would cost start-up time: the services make their own spans (gateway request, client frame, bus call).
import { RuntimeNodeInstrumentation } from '@opentelemetry/instrumentation-runtime-node';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { setTelemetryShutdown } from './telemetry.js';

const env = process.env;
const otlpGiven = Object.keys(env).some((name) => /^OTEL_EXPORTER_OTLP_(.*_)?ENDPOINT$/.test(name));
env['OTEL_TRACES_EXPORTER'] ??= otlpGiven ? 'otlp' : 'none';
env['OTEL_METRICS_EXPORTER'] ??= otlpGiven ? 'otlp' : 'none';
env['OTEL_LOGS_EXPORTER'] ??= 'none';
env['OTEL_NODE_RESOURCE_DETECTORS'] ??= 'env,host,process';

if (env['OTEL_SDK_DISABLED'] !== 'true') {
  const measures = env['OTEL_METRICS_EXPORTER'] !== 'none';
  const sdk = new NodeSDK({
    instrumentations: measures ? [new RuntimeNodeInstrumentation()] : [],
  });
  sdk.start();
  setTelemetryShutdown(() => sdk.shutdown());
}
