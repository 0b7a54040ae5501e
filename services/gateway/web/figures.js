// Measures what a stream's connection carries, once a second.

/**
 * @param {RTCPeerConnection} peer
 * @param {(figures: { resolution: string, fps: string, bitrate: string, codec: string }) => void} show
 * @returns {() => void} stops it
 */
export function watchFigures(peer, show) {
  let previous;
  const timer = setInterval(async () => {
    const report = await peer.getStats();
    const current = summary(report);
    if (previous !== undefined) show(asText(current, previous));
    previous = current;
  }, 1_000);
  return () => clearInterval(timer);
}

function summary(report) {
  const total = { atMs: performance.now(), bytes: 0, frames: 0, width: 0, height: 0, codecs: [] };
  for (const entry of report.values()) {
    if (entry.type !== 'outbound-rtp' && entry.type !== 'inbound-rtp') continue;
    total.bytes += entry.bytesSent ?? entry.bytesReceived ?? 0;
    if (entry.kind === 'video') {
      total.frames = entry.framesSent ?? entry.framesDecoded ?? 0;
      total.width = entry.frameWidth ?? 0;
      total.height = entry.frameHeight ?? 0;
    }
    const codec = report.get(entry.codecId)?.mimeType?.split('/')[1];
    if (codec !== undefined && (entry.bytesSent ?? entry.bytesReceived) > 0) {
      if (entry.kind === 'video') total.codecs.unshift(codec);
      else total.codecs.push(codec);
    }
  }
  return total;
}

function asText(current, previous) {
  const seconds = (current.atMs - previous.atMs) / 1_000;
  const bitsPerSecond = ((current.bytes - previous.bytes) * 8) / seconds;
  const framesPerSecond = (current.frames - previous.frames) / seconds;
  return {
    resolution: current.width > 0 ? `${current.width} × ${current.height}` : '–',
    fps: current.width > 0 ? framesPerSecond.toFixed(0) : '–',
    bitrate:
      bitsPerSecond >= 1_000_000
        ? `${(bitsPerSecond / 1_000_000).toFixed(1)} Mbit/s`
        : `${(bitsPerSecond / 1_000).toFixed(0)} kbit/s`,
    codec: current.codecs.length > 0 ? current.codecs.join(' + ') : '–',
  };
}
