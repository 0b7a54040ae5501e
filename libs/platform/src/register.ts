// node --import @weir/platform/register dist/main.js: telemetry, configured by the standard OTEL_* variables alone.
// Nothing is exported unless they ask for it: traces with OTEL_EXPORTER_OTLP_ENDPOINT, metrics with that or with
// OTEL_METRICS_EXPORTER=prometheus (port OTEL_EXPORTER_PROMETHEUS_PORT). No module is patched: the spans are the
// services' own (gateway request, client frame, bus call), which costs no start-up time.
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
