import { expect, it } from 'vitest';
import { BEST_PICTURE, PICTURE_LEVELS, pictureLevelAfter } from './picture-level.js';

const levelsOf = (losses: readonly number[]): number[] => {
  let picture = BEST_PICTURE;
  return losses.map((loss) => {
    picture = pictureLevelAfter(picture, loss);
    return picture.level;
  });
};

it('the picture gets smaller with every poor measurement, until only the sound is sent', () => {
  expect(levelsOf([0.2, 0.2, 0.2, 0.2])).toEqual([1, 2, 3, 3]);
  expect(PICTURE_LEVELS.map(({ isSent }) => isSent)).toEqual([true, true, true, false]);
});

it('it comes back step by step, each after three good measurements in a row', () => {
  expect(levelsOf([0.1, 0.1, 0, 0, 0, 0, 0, 0, 0])).toEqual([1, 2, 2, 2, 1, 1, 1, 0, 0]);
  expect(levelsOf([0.1, 0, 0, 0.05, 0, 0, 0])).toEqual([1, 1, 1, 1, 1, 1, 0]);
});

it('some loss changes nothing', () => {
  expect(levelsOf([0.05, 0.09, 0.05])).toEqual([0, 0, 0]);
});
