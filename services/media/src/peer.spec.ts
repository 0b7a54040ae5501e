import { describe, expect, it } from 'vitest';
import { ClientVoice } from './peer.js';

/** A client from which this many bytes have come at each look. */
const heard = (...receivedBytes: number[]) => {
  const voice = new ClientVoice();
  for (const bytes of receivedBytes) voice.look(bytes);
  return voice;
};

describe('a client', () => {
  it('counts as silent when nothing more has come for six looks', () => {
    expect(heard(100, 200, 200, 200, 200, 200, 200).isLost).toBe(false);
    expect(heard(100, 200, 200, 200, 200, 200, 200, 200).isLost).toBe(true);
  });

  it('is heard again with the next packet', () => {
    expect(heard(100, 200, 200, 200, 200, 200, 200, 201, 201, 201).isLost).toBe(false);
  });

  it('does not count as silent if it has had nothing to send since its handshake', () => {
    expect(heard(1_500, 1_500, 1_500, 1_500, 1_500, 1_500, 1_500, 1_500, 1_500).isLost).toBe(false);
  });
});
