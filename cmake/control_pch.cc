// Holds a precompiled header (cmake/Lorry.cmake); no code of its own.
