import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { answerOf, type Answer } from './answers.js';

interface Sent {
  readonly status: number;
  readonly contentType: string;
  readonly payload: unknown;
}

/**
 * For specs: compares every answer of a service with its handler's description. The client of an answer that doesn't fit
 * gets status 500 with the difference. Must be called before the service listens.
 */
export const checkAnswers = (app: NestFastifyApplication): void => {
  const answers = new WeakMap<object, Answer>();
  app.useGlobalGuards({
    canActivate: (context) => {
      const answer = answerOf(context.getHandler());
      const name = `${context.getClass().name}.${context.getHandler().name}`;
      if (answer === undefined) throw new Error(`${name} doesn't describe what it answers: it needs @Answers`);
      answers.set(context.switchToHttp().getRequest<{ raw: object }>().raw, answer);
      return true;
    },
  });
  const fastify = app.getHttpAdapter().getInstance();
  fastify.addHook('onSend', async (request, reply, payload) => {
    const answer = answers.get(request.raw);
    if (answer === undefined || request.method === 'HEAD') return payload;
    const contentType = String(reply.getHeader('content-type') ?? '');
    const difference = differenceFrom(answer, { status: reply.statusCode, contentType, payload });
    if (difference === undefined) return payload;
    reply.code(500).header('content-type', 'text/plain');
    return `${request.method} ${request.url} answers ${reply.statusCode} otherwise than described: ${difference}`;
  });
};

const differenceFrom = (answer: Answer, { status, contentType, payload }: Sent): string | undefined => {
  if (answer.tag === 'file' && status < 400)
    return answer.contentTypes.includes(contentType.split(';', 1)[0] ?? '') ? undefined : `as ${contentType}`;
  // The answer to a range that can't be satisfied has no body.
  if (status === 416) return undefined;
  const schema = status >= 400 || answer.tag === 'file' ? answer.errors : answer.schema;
  const { error } = schema.safeParse(jsonOf(payload));
  return error === undefined ? undefined : `${String(payload)}\n${error.message}`;
};

const jsonOf = (payload: unknown): unknown => {
  const text = payload === undefined || payload === null ? '' : String(payload);
  return text === '' ? undefined : (JSON.parse(text) as unknown);
};
