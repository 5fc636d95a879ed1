// Holds the precompiled header (cmake/LibTorch.cmake); no code of its own.
