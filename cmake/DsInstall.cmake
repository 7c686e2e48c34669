# SPDX-License-Identifier: Apache-2.0
# Headers, libraries, programs, find_package(ds) with ds::ds, and ds.pc. Component "development" is
# what programs in C and C++ are built with: the wheel has it too, inside the Python package.
if(SKBUILD)
  set(CMAKE_INSTALL_LIBDIR yr/datasystem/lib)
  set(CMAKE_INSTALL_INCLUDEDIR yr/datasystem/include)
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development
  FILES_MATCHING PATTERN "*.h")
foreach(program dskeeper dsworker dscli)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
if(NOT TARGET ds)
  return()
endif()

# The original's name, as a script of the linker.
install(FILES cmake/libdatasystem.so.in DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RENAME libdatasystem.so COMPONENT development)

install(FILES docs/man/dscli.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/man/dsworker.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
if(TARGET dscli)
  install(CODE "
    execute_process(COMMAND $<TARGET_FILE:dscli> completion COMMAND_ERROR_IS_FATAL ANY
      OUTPUT_FILE \"${PROJECT_BINARY_DIR}/dscli.bash\")")
  install(FILES ${PROJECT_BINARY_DIR}/dscli.bash RENAME dscli
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
endif()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ds)
install(TARGETS ds ds_static EXPORT ds-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT ds-targets NAMESPACE ds:: DESTINATION ${package_dir} COMPONENT development)
configure_package_config_file(cmake/ds-config.cmake.in ${PROJECT_BINARY_DIR}/ds-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ds-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ds-config.cmake ${PROJECT_BINARY_DIR}/ds-config-version.cmake
  DESTINATION ${package_dir} COMPONENT development)

# ds.pc finds its prefix from its own place, so the tree may be moved.
file(RELATIVE_PATH prefix_from_pc
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/ds.pc.in ds.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ds.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
  COMPONENT development)
