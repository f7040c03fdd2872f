// The compiled program, in pages of its own. PROGRAM_IMAGE is given by scripts/build.ts.
    .section .rodata.program, "a", @progbits
    .global program_image
    .balign 4096
program_image:
    .incbin PROGRAM_IMAGE
    .section .note.GNU-stack, "", @progbits
