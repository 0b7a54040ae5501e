import { ErrorCode, WeirError } from '@weir/contracts';
import { refusalOf, type OutboundGuard } from '@weir/outbound';
import { parseRtspUrl } from '@weir/protocol-rtsp';
import { NAME_PATTERN } from '@weir/protocol-turing';
import { z } from 'zod';

const MAX_CAMERAS = 32;

const name = z.string().regex(NAME_PATTERN, '1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-", the first a letter or digit');
/** Parsed in the same way as in the media core, so that the media core can pull every URL that is accepted here. */
const rtspUrl = z
  .string()
  .max(2048)
  .refine((text) => parseRtspUrl(text) !== undefined, 'an absolute rtsp or rtsps URL');

const camera = { rtspUrl: rtspUrl.nullish(), pinned: z.boolean().optional() };

export const newCameraBody = z.strictObject({ name, ...camera });
export const cameraChangeBody = z.strictObject(camera);
export const newRobotBody = z
  .strictObject({
    id: name,
    cameras: z.array(newCameraBody).max(MAX_CAMERAS).default([]),
    defaultCamera: name.nullish(),
  })
  .refine(({ cameras }) => new Set(cameras.map((one) => one.name)).size === cameras.length, {
    path: ['cameras'],
    message: 'two cameras have the same name',
  })
  .refine(({ cameras, defaultCamera }) => !defaultCamera || cameras.some((one) => one.name === defaultCamera), {
    path: ['defaultCamera'],
    message: 'the robot has no such camera',
  });
export const robotChangeBody = z.strictObject({ defaultCamera: name.nullable() });
export const listQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1000).default(100),
  after: z.string().max(64).default(''),
});

export const cameraJson = z.strictObject({ name: z.string(), pinned: z.boolean(), rtspUrl: z.string().optional() });
export type CameraJson = z.infer<typeof cameraJson>;
export const camerasAnswer = z.strictObject({ cameras: z.array(cameraJson) });
export const robotJson = z.strictObject({
  id: z.string(),
  online: z.boolean(),
  cameras: z.array(cameraJson),
  defaultCamera: z.string().nullable(),
  createdAt: z.iso.datetime(),
});
export type RobotJson = z.infer<typeof robotJson>;
export const robotsAnswer = z.strictObject({ robots: z.array(robotJson) });

/**
 * Throws INVALID for a URL that the platform must not connect to. The media core checks again when it connects, because
 * the host name may have another address by then.
 */
export const demandAllowed = async (
  guard: Pick<OutboundGuard, 'checkHost'>,
  text: string | null | undefined,
): Promise<void> => {
  const url = parseRtspUrl(text ?? '');
  if (url === undefined) return;
  const refusal = await refusalOf(guard.checkHost(url.host, url.port, { scheme: url.scheme }));
  if (refusal === undefined) return;
  const fields = { rtspUrl: refusal.message };
  throw new WeirError(ErrorCode.INVALID, 'The platform may not connect to this URL', fields);
};
