import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePorts } from '@weir/single-machine';
import { waitFor } from '@weir/testing';

/** The path where Debian's libnginx-mod-rtmp puts the module. */
const MODULE = process.env['NGINX_RTMP_MODULE'] ?? '/usr/lib/nginx/modules/ngx_rtmp_module.so';

/** nginx with its RTMP module: receives RTMP and makes ordinary HLS from it. */
export class RtmpServer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly rtmpPort: number,
    private readonly httpPort: number,
  ) {}

  static isInstalled = (): boolean => existsSync(MODULE);

  /** @param folder for everything that it writes; created if it doesn't exist */
  static async start(folder: string, segmentS: number): Promise<RtmpServer> {
    const [rtmpPort = 0, httpPort = 0] = await freePorts(2);
    await mkdir(join(folder, 'hls'), { recursive: true });
    const configPath = join(folder, 'nginx.conf');
    await writeFile(configPath, configOf({ folder, rtmpPort, httpPort, segmentS }));
    const child = spawn('nginx', ['-p', folder, '-c', configPath, '-e', join(folder, 'error.log')], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const server = new RtmpServer(child, rtmpPort, httpPort);
    try {
      await waitFor(() => fetch(`http://127.0.0.1:${httpPort}/`), { timeoutMs: 10_000, what: 'nginx' });
      return server;
    } catch (error) {
      await server.stop();
      throw error;
    }
  }

  pushUrl(name: string): string {
    return `rtmp://127.0.0.1:${this.rtmpPort}/live/${name}`;
  }

  playlistUrl(name: string): string {
    return `http://127.0.0.1:${this.httpPort}/hls/${name}.m3u8`;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await exited;
  }
}

const configOf = (options: { folder: string; rtmpPort: number; httpPort: number; segmentS: number }): string => `
load_module ${MODULE};
${process.getuid?.() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
pid ${options.folder}/nginx.pid;
error_log ${options.folder}/error.log error;
events { worker_connections 256; }
rtmp {
  server {
    listen 127.0.0.1:${options.rtmpPort};
    application live {
      live on;
      hls on;
      hls_path ${options.folder}/hls;
      hls_fragment ${options.segmentS}s;
      hls_playlist_length ${6 * options.segmentS}s;
    }
  }
}
http {
  access_log off;
  types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; }
  client_body_temp_path ${options.folder}/body;
  proxy_temp_path ${options.folder}/proxy;
  fastcgi_temp_path ${options.folder}/fastcgi;
  uwsgi_temp_path ${options.folder}/uwsgi;
  scgi_temp_path ${options.folder}/scgi;
  server {
    listen 127.0.0.1:${options.httpPort};
    root ${options.folder};
    add_header Access-Control-Allow-Origin *;
    add_header Cache-Control no-cache;
  }
}
`;
