import { findProgram } from '../setup/command.mjs';
import { StartError } from './settings.js';

/** @throws StartError if the program is neither in PATH nor in the system's folders for servers */
export function requiredProgram(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new StartError(`The program ${name} isn't installed.`);
  return path;
}
