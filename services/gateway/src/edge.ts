import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { ConnectionBook } from './connection-book.js';
import type { EdgeConfig } from './settings.js';
import type { EdgeLog } from './edge-log.js';
import { EdgeTelemetry } from './edge-telemetry.js';
import { HealthReports } from './health-report.js';
import { createHttpEdge } from './http-edge.js';
import { listeningPorts } from './listening-ports.js';
import { Listeners, type OpenListener } from './listeners.js';
import { RateCounters, type CounterStore } from './rate-counters.js';
import { Refusals } from './refusals.js';
import { RequestBodies } from './request-body.js';
import { SlowReaders } from './slow-readers.js';
import { CertificateWatch, readCertificate } from './tls-certificate.js';
import { Upgrades } from './upgrades.js';
import { reasonOf, Upstreams } from './upstreams.js';

export interface EdgePorts {
  config: EdgeConfig;
  redis: CounterStore;
  log: EdgeLog;
  nowMs: () => number;
}

/**
 * The public side of weir. Close order: `drain` refuses new connections and handshakes, ends open WebSockets and waits
 * for the requests in progress; `close` cuts off what is left and closes the connections to the services.
 */
export class Edge {
  readonly #upstreams: Upstreams;
  readonly #upgrades: Upgrades;
  readonly #bodies: RequestBodies;
  readonly #slowReaders: SlowReaders;
  readonly #health: HealthReports;
  readonly #counters: RateCounters;
  readonly #telemetry = new EdgeTelemetry();
  readonly #book = new ConnectionBook();
  readonly #refusals: Refusals;
  #app: FastifyInstance | undefined;
  #listeners: Listeners | undefined;
  #certificateWatch: CertificateWatch | undefined;
  #draining = false;

  constructor(private readonly ports: EdgePorts) {
    const { config, redis, log, nowMs } = ports;
    const telemetry = this.#telemetry;
    this.#refusals = new Refusals(log);
    this.#upstreams = new Upstreams({
      urls: config.upstreams,
      timeoutMs: config.upstreamTimeoutMs,
      connectTimeoutMs: config.upstreamConnectTimeoutMs,
      maxInFlight: config.upstreamMaxInFlight,
      log,
    });
    this.#bodies = new RequestBodies({ perAddressBytes: config.bodyBytesPerAddress, totalBytes: config.bodyBytes });
    this.#slowReaders = new SlowReaders({ timeoutMs: config.answerTimeoutMs, nowMs });
    this.#health = new HealthReports({ upstreams: this.#upstreams, log, nowMs });
    this.#counters = new RateCounters({
      redis,
      nowMs,
      onFallback: (error) => log.warn({ error: reasonOf(error) }, 'rate limits are counted without Redis'),
    });
    this.#upgrades = new Upgrades({
      upstreams: this.#upstreams,
      counters: this.#counters,
      telemetry,
      refusals: this.#refusals,
      sites: config.sites,
      trustedProxies: config.trustedProxies,
      handshakeTimeoutMs: config.handshakeTimeoutMs,
      socketsPerAddress: config.socketsPerAddress,
      upgradesPerMinute: config.perMinute.upgrade,
    });
    telemetry.observe({
      openSockets: () => this.#upgrades.openSockets,
      heldBytes: () => this.#upgrades.heldBytes,
      heldBodyBytes: () => this.#bodies.heldBytes,
      openConnections: () => this.#book.size,
      bytes: () => this.#book.traffic,
    });
  }

  get openSockets(): number {
    return this.#upgrades.openSockets;
  }

  /** Bytes in the gateway's memory in transit between spliced sockets. */
  get heldBytes(): number {
    return this.#upgrades.heldBytes;
  }

  /** Opens the public ports. @throws Error naming the setting that prevents it */
  async listen(): Promise<OpenListener[]> {
    const { config, log } = this.ports;
    const certificate = config.tls === undefined ? undefined : await readCertificate(config.tls);
    const ports = listeningPorts(config.ports, config.compatPorts, certificate !== undefined);
    if (config.compatPorts === 'on' && certificate === undefined)
      log.warn({}, 'the compatible TLS ports stay closed: WEIR_TLS_CERT and WEIR_TLS_KEY are not set');

    const app = await createHttpEdge({
      upstreams: this.#upstreams,
      counters: this.#counters,
      health: this.#health,
      telemetry: this.#telemetry,
      bodies: this.#bodies,
      slowReaders: this.#slowReaders,
      requestTimeoutMs: config.requestTimeoutMs,
      log,
      refusals: this.#refusals,
      trustedProxies: config.trustedProxies,
      sites: config.sites,
      requestsPerAddress: config.requestsPerAddress,
      perMinute: config.perMinute,
      isDraining: () => this.#draining,
    });
    this.#app = app;
    const listeners = new Listeners({
      host: config.host,
      ports,
      certificate,
      headersTimeoutMs: config.headersTimeoutMs,
      requestTimeoutMs: config.requestTimeoutMs,
      connectionsPerAddress: connectionsPerAddress(config),
      trustedProxies: config.trustedProxies,
      book: this.#book,
      refusals: this.#refusals,
      // The framework accepts requests of both HTTP versions.
      onRequest: (request, response) => app.routing(request as IncomingMessage, response as ServerResponse),
      onUpgrade: (server, request, socket, head) => this.#upgrades.handle(server, request, socket, head),
    });
    const opened = await listeners.listen();
    this.#listeners = listeners;
    if (config.tls !== undefined)
      this.#certificateWatch = new CertificateWatch({
        files: config.tls,
        use: (renewed) => listeners.useCertificate(renewed),
        log,
      });
    return opened;
  }

  /** Reads the certificate again, if there is one. */
  async reloadCertificate(): Promise<void> {
    await this.#certificateWatch?.reload();
  }

  /** Resolves when no connection is left; the caller sets the time limit. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#health.drain();
    this.#upgrades.drain();
    await this.#listeners?.drain();
  }

  async close(): Promise<void> {
    this.#certificateWatch?.close();
    this.#slowReaders.close();
    this.#upgrades.destroy();
    await this.#listeners?.close();
    await this.#app?.close();
    await this.#upstreams.close();
  }
}

/** WebSockets are connections too, and have their own limit. */
const connectionsPerAddress = ({ connectionsPerAddress: beside, socketsPerAddress: sockets }: EdgeConfig): number =>
  beside === 0 || sockets === 0 ? 0 : beside + sockets;
