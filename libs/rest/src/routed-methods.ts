import { MethodNotAllowedException } from '@nestjs/common';

/** The methods that each path has, for the answer to a request with another one. */
export class RoutedMethods {
  readonly #routes: { readonly pattern: readonly string[]; readonly methods: readonly string[] }[] = [];

  /** @param pattern in Fastify's notation: `:name` stands for one part of a path, `*` for the rest */
  add(pattern: string, methods: string | readonly string[]): void {
    this.#routes.push({ pattern: partsOf(pattern), methods: [methods].flat() });
  }

  /** In alphabetical order; empty for a path that has no route. */
  of(path: string): string[] {
    const parts = partsOf(path);
    const fitting = this.#routes.filter(({ pattern }) => fits(pattern, parts));
    return [...new Set(fitting.flatMap(({ methods }) => methods))].sort();
  }
}

/** A slash at the end makes no difference. */
const partsOf = (path: string): string[] => path.replace(/\/$/, '').split('/');

const fits = (pattern: readonly string[], parts: readonly string[]): boolean => {
  const rest = pattern.at(-1) === '*';
  const fixed = rest ? pattern.slice(0, -1) : pattern;
  return (
    (rest ? parts.length > fixed.length : parts.length === fixed.length) &&
    fixed.every((part, index) => (part.startsWith(':') ? parts[index] !== '' : part === parts[index]))
  );
};

export class MethodNotAllowed extends MethodNotAllowedException {
  constructor(methods: readonly string[]) {
    super(`Another method is needed here: ${methods.join(', ')}`);
  }
}
