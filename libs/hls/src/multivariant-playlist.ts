export interface Variant {
  /** URI of the media playlist, relative to this playlist. */
  uri: string;
  codecs: readonly string[];
  video: { width: number; height: number } | undefined;
  frameRate: number | undefined;
  peakBps: number;
  averageBps: number | undefined;
}

/**
 * RFC 8216bis §4.4.6: the playlist that states codecs, size and rate, so that players know whether they can play the
 * stream.
 * @param query added to the media playlists' addresses, percent-encoded
 * @param sessionData values of EXT-X-SESSION-DATA by id
 */
export function renderMultivariantPlaylist(
  variants: readonly Variant[],
  query?: string,
  sessionData: Readonly<Record<string, string>> = {},
): string {
  const lines = ['#EXTM3U', '#EXT-X-VERSION:9'];
  for (const [id, value] of Object.entries(sessionData))
    lines.push(`#EXT-X-SESSION-DATA:DATA-ID="${id}",VALUE="${value.replace(/["\r\n]/g, "'")}"`);
  for (const { uri, codecs, video, frameRate, peakBps, averageBps } of variants) {
    const attributes = [`BANDWIDTH=${Math.max(1, Math.ceil(peakBps))}`];
    if (averageBps !== undefined) attributes.push(`AVERAGE-BANDWIDTH=${Math.max(1, Math.ceil(averageBps))}`);
    attributes.push(`CODECS="${codecs.join(',')}"`);
    if (video !== undefined) attributes.push(`RESOLUTION=${video.width}x${video.height}`);
    if (video !== undefined && frameRate !== undefined) attributes.push(`FRAME-RATE=${frameRate.toFixed(3)}`);
    lines.push(`#EXT-X-STREAM-INF:${attributes.join(',')}`, query ? `${uri}?${query}` : uri);
  }
  return `${lines.join('\n')}\n`;
}
