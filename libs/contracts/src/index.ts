export * from './error.js';
export * from './gen/weir/options/v1/options_pb.js';
export * from './gen/weir/v1/auth_pb.js';
export * from './gen/weir/v1/error_pb.js';
export * from './gen/weir/v1/instance_pb.js';
export * from './gen/weir/v1/media_pb.js';
export * from './gen/weir/v1/robot_pb.js';
export * from './gen/weir/v1/wcs_pb.js';
