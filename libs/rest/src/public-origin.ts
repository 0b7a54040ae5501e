import type { FastifyRequest } from 'fastify';

/** Where clients reach the platform, without a slash at the end: as the setting says, or as the request was made. */
export const publicOrigin = (
  publicUrl: string | undefined,
  { headers, protocol, host }: Pick<FastifyRequest, 'headers' | 'protocol' | 'host'>,
): string => {
  if (publicUrl !== undefined) return publicUrl;
  const forwarded = (name: string): string | undefined => headers[name]?.toString().split(',')[0]?.trim();
  return `${forwarded('x-forwarded-proto') ?? protocol}://${forwarded('x-forwarded-host') ?? host}`;
};
