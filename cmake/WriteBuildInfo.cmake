# Writes build_info.h, touching it only when something changed so that nothing is rebuilt for nothing.
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE sha OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT sha)
  set(sha "unknown")
else()
  execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain --untracked-files=no
    OUTPUT_VARIABLE changes OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(changes)
    string(APPEND sha "-modified")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [=[
// Made by cmake/WriteBuildInfo.cmake.
#pragma once
#define PVA_VERSION "@VERSION@"
#define PVA_GIT_SHA "@sha@"
#define PVA_BUILD_TYPE "@BUILD_TYPE@"
#define PVA_COMPILER "@COMPILER@"
#define PVA_TORCH_VERSION "@TORCH_VERSION@"
#define PVA_FLAGS "@FLAGS@"
#define PVA_SYSTEM "@SYSTEM@"
#define PVA_OTHER_LIBRARIES "@OTHER_LIBRARIES@"
]=] @ONLY)
