export type FilmColour = 'red' | 'green' | 'blue';

/**
 * A video of one colour, 320×240, with a small square that moves along its lower edge, so that no two pictures are the
 * same. This runs in pages; give them its text: `page.evaluate(`window.film = ${colouredFilm}`)`.
 */
export const colouredFilm = (colour: FilmColour, framesPerSecond = 30): MediaStreamTrack => {
  const canvas = document.createElement('canvas');
  canvas.width = 320;
  canvas.height = 240;
  const drawing = canvas.getContext('2d');
  let tick = 0;
  setInterval(() => {
    if (drawing === null) return;
    drawing.fillStyle = { red: '#ff0000', green: '#00ff00', blue: '#0000ff' }[colour];
    drawing.fillRect(0, 0, 320, 240);
    drawing.fillStyle = '#ffffff';
    drawing.fillRect((tick++ * 3) % 320, 230, 10, 10);
  }, 1_000 / framesPerSecond);
  const [track] = canvas.captureStream(framesPerSecond).getVideoTracks();
  if (track === undefined) throw new Error('the canvas has no video');
  return track;
};
