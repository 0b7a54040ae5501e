// Shows this server's own addresses in the examples.
const secure = location.protocol === 'https:';
const addresses = {
  socket: `${secure ? 'wss' : 'ws'}://${location.host}`,
  http: location.origin,
};
for (const element of document.querySelectorAll('[data-address]')) {
  element.textContent = addresses[element.dataset.address];
}
